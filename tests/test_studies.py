"""The studies around (g): what each training changes, and how it is compared."""

import pandas as pd
import pytest

from ccbook import perform
from ccbook.book import studies
from ccbook.book.plots import TUNED
from ccbook.chapters import METHODS, defaults
from ccbook.parameters import check


def test_each_training_is_one_that_its_chapter_takes():
    for variant in studies.variants():
        chapter = METHODS[variant.letter].name
        check(chapter, defaults(chapter) | {"seeds": studies.SEEDS} | variant.changes)


def test_each_study_is_measured_by_tuned_direct_training_on_the_same_digits_and_network():
    variants = studies.variants()
    for study in {v.study for v in variants}:
        own = [v for v in variants if v.study == study]
        assert [v.name for v in own].count(TUNED) == 1
        assert len({(v.changes.get("dataset"), str(v.changes.get("hidden"))) for v in own}) == 1


def test_what_is_left_out_of_g_is_one_thing_at_a_time():
    usual = defaults("g_tempered")
    without = [v for v in studies.variants() if v.name.startswith("(g) without")]
    assert len(without) >= 5
    for variant in without:
        ((name, value),) = variant.changes.items()
        assert value != usual[name]


def test_the_relative_evidence_is_over_the_same_studys_tuned_training_at_the_same_lambda():
    def rows(study, name, evidences):
        return pd.DataFrame({"study": study, "method": "a", "name": name, "lam": [1.0, 10.0], "evidence": evidences,
                             "sd": 0.0, "accuracy": 0.5, "seeds": 2, "run": "a"})  # fmt: skip

    table = studies.compared([rows("x", TUNED, [-100, -200]), rows("x", "other", [-110, -190]),
                              rows("y", TUNED, [-50, -60]), rows("y", "other", [-50, -90])])  # fmt: skip
    assert table.query("name == 'other'")["relative"].tolist() == pytest.approx([0.1, -0.05, 0, 0.5])


@pytest.mark.parametrize("study", ["form", "rate", "deep", "small"])
def test_every_training_is_on_record_at_every_lambda(study):
    recorded = studies.recorded().query("study == @study")
    names = [v.name for v in studies.variants() if v.study == study]
    assert set(recorded["name"]) == set(names)
    at_paper = recorded[recorded["lam"].isin([0.1, 1, 10, 100])]
    assert (at_paper.groupby("name").size() == 4).all()
    assert recorded["evidence"].notna().all()


def test_a_direct_run_is_measured_as_recorded_and_a_hypernetwork_at_every_lambda_of_the_study(folder):
    few = {"profile": "quick", "dataset": str(folder), "seeds": [0], "hidden": [4], "epochs": 1}
    for letter in "ag":
        chapter = METHODS[letter].name
        run = perform.perform(chapter, defaults(chapter) | few | {"lambdas": studies.SHORT})
        table = studies.measured(studies.Variant("deep", letter, "small", {"hidden": [4]}), run)
        assert table["lam"].tolist() == studies.SHORT
        assert table["accuracy"].tolist() == pytest.approx(run.metrics["accuracy"].tolist())
        assert (table["seeds"] == 1).all()
