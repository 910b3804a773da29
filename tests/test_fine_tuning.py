import io

import pandas as pd
import pytest
import torch

from ccbook import chapters, perform
from ccbook.book import method_page
from ccbook.records import history, provenance
from ccbook.records.run import RunError
from complexity_control.posterior import to_flat
from complexity_control.training import DivergedError
from tests.helpers import on_record


@pytest.mark.parametrize(
    ("chapter", "fine"), [("c_low_rank", "d_low_rank_fine_tuned"), ("e_linear", "f_linear_fine_tuned")]
)
class TestFineTuning:
    @pytest.fixture
    def small(self, folder):
        return {"dataset": str(folder), "lambdas": [0.1, 10], "seeds": [0, 1], "hidden": [6], "epochs": 2}

    @pytest.fixture
    def generated(self, chapter, small):
        return perform.perform(chapter, chapters.defaults(chapter) | small)

    @pytest.mark.parametrize("estimator", ["local", "weights"])
    def test_it_starts_at_exactly_what_the_hypernetwork_generates(self, chapter, fine, small, generated, estimator):
        """With a step of no length the fine-tuned posterior is the start; the start is the hypernetwork's at lambda."""
        still = chapters.defaults(fine) | small | {"start": generated.id, "learning_rate": 1e-30}
        tuned = perform.perform(fine, still | {"estimator": estimator})
        method = perform.method_of(generated.parameters)
        grid = torch.tensor([[0.1, 10.0]] * 2)
        expected = to_flat(method.posterior(generated.hypernetwork, grid))
        by_lambda_then_seed = [0, 2, 1, 3]
        for name, t in to_flat(tuned.posterior).items():
            assert torch.equal(t, to_flat(generated.posterior)[name])
            torch.testing.assert_close(t, expected[name][by_lambda_then_seed])

    def test_its_updates_are_the_hypernetworks_and_its_own(self, chapter, fine, small, generated):
        tuned = perform.perform(fine, chapters.defaults(fine) | small | {"start": generated.id})
        assert set(tuned.metrics["updates_shared"]) == set(generated.metrics["updates_shared"])
        direct_numbers = sum(t[0].numel() for t in to_flat(tuned.posterior).values())
        assert set(tuned.metrics["updates"]) == {direct_numbers * 2 * 2}  # two minibatches of 200 digits, two epochs

    def test_by_default_it_starts_from_the_run_with_its_settings(self, chapter, fine, small):
        same = small | {"profile": "quick", "seeds": [0], "epochs": 3}
        generated = perform.perform(chapter, chapters.defaults(chapter) | same)
        tuned = perform.perform(fine, chapters.defaults(fine) | same)
        assert tuned.receipt["parameters"]["start"] == generated.id

    def test_its_figure_shows_what_it_started_from_and_b_where_that_is_on_record(self, chapter, fine, small, generated):
        tuned = perform.perform(fine, chapters.defaults(fine) | small | {"start": generated.id})
        alone = method_page.pruning(tuned)
        assert "from a random start" not in alone.content["myst"]
        direct = perform.perform("b_direct_one_epoch", chapters.defaults("b_direct_one_epoch") | small | {"epochs": 1})
        shown = method_page.pruning(tuned)
        (table,) = (text for file, text in shown.content["files"].items() if file.endswith(".csv"))
        means = pd.read_csv(io.StringIO(table)).groupby(["method", "pruned_percent", "lam"])["accuracy"].mean()
        whole = [run.metrics.groupby("lam")["accuracy"].mean() for run in (tuned, generated, direct)]
        for run, of_run in zip((tuned, generated, direct), whole, strict=True):
            assert means[run.parameters.method, 0].tolist() == pytest.approx(of_run.tolist())
        for other, words in zip(
            whole[1:], ("changes by {} and {} points", "ends {} and {} points from (b)"), strict=True
        ):
            gaps = [f"{round(100 * gap, 1) + 0:+.1f}".replace("-", "−") for gap in whole[0] - other]
            assert words.format(*gaps) in shown.content["myst"]

    def test_it_is_the_books_while_the_code_of_its_start_is_and_never_names_that(
        self, chapter, fine, small, monkeypatch
    ):
        own = {n: small[n] for n in ("dataset", "hidden")} | {"profile": "quick"}
        perform.perform(chapter, chapters.defaults(chapter) | own)
        tuned = perform.perform(fine, chapters.defaults(fine) | own)
        assert history.changes(tuned.parameters).keys() == own.keys()
        assert "start=" not in history.command(tuned.parameters)
        # on a page the folder has its last name alone, and the start still follows
        assert history.command(tuned.parameters, public=True).split()[3:] == [
            "--set", "dataset=own", "hidden=6", "profile=quick"
        ]  # fmt: skip
        usual = provenance.sources
        changed = chapters.METHODS[chapter[0]].function
        monkeypatch.setattr(
            provenance,
            "sources",
            lambda function: usual(function) | ({"more.py": "x = 1"} if function == changed else {}),
        )
        assert tuned.current
        assert "start" in history.changes(tuned.parameters)

    def test_without_a_run_to_start_from_it_says_what_to_execute(self, chapter, fine, small):
        with pytest.raises(RunError, match=f"Make it by `ccbook run {chapter} --set dataset=.* lambdas=0.1,10"):
            perform.perform(fine, chapters.defaults(fine) | small)

    @pytest.mark.parametrize(
        ("name", "value"), [("lambdas", [0.1]), ("hidden", [7]), ("prior_std", 1.0), ("seeds", [0])]
    )  # fmt: skip
    def test_a_run_of_other_settings_is_refused(self, chapter, fine, small, generated, name, value):
        other = chapters.defaults(fine) | small | {"start": generated.id, name: value}
        with pytest.raises(RunError, match=f"that run was made with {name} ="):
            perform.perform(fine, other)

    def test_a_run_of_another_method_or_of_nobody_is_refused(self, chapter, fine, small):
        run = perform.perform("a_direct", chapters.defaults("a_direct") | small)
        with pytest.raises(RunError, match=f"starts from a run of {chapter}"):
            perform.perform(fine, chapters.defaults(fine) | small | {"start": run.id})
        for name in ("nobody", f"../{run.folder.parent.name}/{run.id}"):
            with pytest.raises(RunError, match="no such run is on record"):
                perform.perform(fine, chapters.defaults(fine) | small | {"start": name})


def test_a_lambda_too_far_for_a_hypernetwork_leaves_no_run(folder, record):
    far = {"dataset": str(folder), "lambdas": [1, 1e9], "seeds": [0], "hidden": [6], "epochs": 1}
    with pytest.raises(DivergedError, match="at lambda 1e\\+09, seed 0 is no distribution"):
        perform.perform("e_linear", chapters.defaults("e_linear") | far)
    assert on_record() == []
