import builtins
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccbook import chapters, parameters
from ccbook.parameters import ParameterError, check
from complexity_control.training import Settings

DEFAULTS = chapters.defaults("a_direct")
NAMES = list(DEFAULTS)


@pytest.mark.parametrize("chapter", chapters.names())
def test_a_chapters_cell_holds_exactly_the_parameters(chapter):
    assert {*chapters.defaults(chapter), "chapter"} == {*parameters.MODELS[chapter[0]].model_fields}
    assert check(chapter, chapters.defaults(chapter)).profile == "paper"


def test_values_are_cast_as_papermill_may_hand_them_over():
    p = check("a_direct", DEFAULTS | {
        "lambdas": "[0.1, 1e2]", "seeds": 3, "epochs": "2", "learning_rate": "1e-3", "force": "false", "hidden": 50,
    })  # fmt: skip
    assert (p.lambdas, p.seeds, p.epochs, p.learning_rate) == ((0.1, 100), (3,), 2, 0.001)
    assert (p.force, p.hidden) == (False, (50,))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("lambdas", [0], "greater than 0"),
        ("lambdas", [-1], "greater than 0"),
        ("lambdas", [], "at least 1 item"),
        ("lambdas", [math.nan], "finite"),
        ("lambdas", [math.inf], "finite"),
        ("lambdas", [1, 1.0], "twice"),
        ("lambdas", "one", "valid number"),
        ("seeds", [], "at least 1 item"),
        ("seeds", [-1], "greater than or equal to 0"),
        ("seeds", [0.5], "valid integer"),
        ("epochs", 0, "greater than or equal to 1"),
        ("epochs", 1.5, "valid integer"),
        ("epochs", True, "not true or false"),
        ("epochs", None, "valid integer"),
        ("batch_size", 0, "greater than or equal to 1"),
        ("learning_rate", math.nan, "finite"),
        ("learning_rate", 0, "greater than 0"),
        ("prior_std", "wide", "valid number"),
        ("clip", -1, "greater than or equal to 0"),
        ("momentum", 1, "less than 1"),
        ("optimizer", "adamw", "'adam' or 'sgd'"),
        ("hidden", [0], "greater than or equal to 1"),
        ("device", "tpu", "'cpu' or 'cuda'"),
        ("profile", "fast", "'paper' or 'quick'"),
        ("dataset", "MINST", "did you mean 'MNIST'"),
        ("dataset", "9" * 300, "File name too long"),
        ("dataset", "~nobody_at_all/digits", "or a folder with the files"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_and_what_is_allowed(name, value, reason):
    with pytest.raises(ParameterError, match=rf"parameter {name}.*{reason}"):
        check("a_direct", DEFAULTS | {name: value})


@pytest.mark.parametrize("value", [[], [1], [2, 1], [1, 1], [1, 2, 3]])
def test_a_range_that_has_no_two_ends_is_refused(value):
    with pytest.raises(ParameterError, match=r"parameter lam_range.*two ends, the lower one first"):
        check("g_tempered", chapters.defaults("g_tempered") | {"lam_range": value})


@given(name=st.text("abcdefghijklmnopqrstuvwxyz", min_size=1), value=st.integers() | st.text() | st.none())
def test_an_unknown_name_is_refused(name, value):
    if name not in NAMES:
        with pytest.raises(ParameterError, match=f"unknown parameter '{name}'"):
            check("a_direct", DEFAULTS | {name: value})


def test_a_mistyped_name_gets_the_nearest_right_one():
    with pytest.raises(ParameterError, match="unknown parameter 'lamdas': did you mean 'lambdas'"):
        check("a_direct", DEFAULTS | {"lamdas": [1]})


def test_all_faults_are_reported_at_once():
    with pytest.raises(ParameterError, match=r"epoch.*seeds.*prior_std"):
        check("a_direct", DEFAULTS | {"epoch": 1, "seeds": [], "prior_std": 0})


def test_what_a_notebook_has_besides_its_parameters_is_ignored():
    namespace = DEFAULTS | {"In": [], "Out": {}, "_oh": {}, "exit": object(), "math": math, "get_ipython": check}
    assert check("a_direct", namespace | {"__builtins__": builtins}) == check("a_direct", DEFAULTS)
    with pytest.raises(ParameterError, match=r"unknown parameter 'In'.*unknown parameter '_oh'"):
        check("a_direct", namespace)  # a command line, or a file


def test_what_changes_no_number_makes_no_twin():
    for changes in ({"momentum": -0.0}, {"momentum": 0.9}):  # adam has none
        assert check("a_direct", DEFAULTS | changes).model_dump_json() == check("a_direct", DEFAULTS).model_dump_json()
    assert check("a_direct", DEFAULTS | {"momentum": 0.9, "optimizer": "sgd"}).momentum == 0.9


def test_the_quick_profile_caps_seeds_epochs_and_digits():
    p = check("a_direct", DEFAULTS | {"profile": "quick"})
    assert (p.seeds, p.epochs, p.cap.train) == ((0,), 2, 5_000)
    assert check("a_direct", DEFAULTS | {"profile": "quick", "epochs": 1}).epochs == 1


def test_settings_defaults_are_those_of_chapter_a():
    """The science's own defaults, and those that a reader of the book sees; a hypernetwork's own are chapter c's."""
    seen = chapters.defaults("c_low_rank") | DEFAULTS
    for field in dataclasses.fields(Settings):
        value = seen[field.name]
        assert field.default == (tuple(value) if isinstance(value, list) else value), field.name


@pytest.mark.parametrize("chapter", chapters.names())
def test_a_trainings_settings_are_the_chapters_parameters(chapter):
    changed = chapters.defaults(chapter) | {"epochs": 3, "hidden": [7, 5], "prior_std": 2.0, "optimizer": "sgd"}
    settings = check(chapter, changed).settings
    assert (settings.epochs, settings.hidden, settings.prior_std, settings.optimizer) == (3, (7, 5), 2.0, "sgd")
    assert settings.samples == changed.get("samples", 1)
