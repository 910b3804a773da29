from pathlib import Path

import pandas as pd
import pytest
import torch

from ccbook import chapters, parameters, perform
from ccbook.machine import kernels, progress, workers
from ccbook.records import history, verification
from ccbook.records.run import ARTEFACTS, RunError, read
from complexity_control.objective import kl
from complexity_control.training import Model
from tests.helpers import on_record


def test_a_run_is_found_and_not_repeated(run, small, capfd):
    finished = (run.folder / "receipt.json").stat().st_mtime_ns
    capfd.readouterr()
    assert perform.perform("a_direct", small) == run
    assert "epoch" not in capfd.readouterr().err
    assert (run.folder / "receipt.json").stat().st_mtime_ns == finished


def test_a_receipt_holds_every_parameter_and_where_it_ran(run, small):
    assert run.id.startswith("a_direct-")
    expected = {name: value for name, value in small.items() if name != "force"}
    assert run.receipt["parameters"] == expected | {"chapter": "a_direct", "epochs": 2}
    assert run.receipt["data"]["train"] == 200
    assert {"finished", "git", "versions", "processor", "cores", "product_kernels", "gradient", "seconds"} < set(
        run.receipt
    )


def test_the_rows_are_tidy_and_agree_with_each_other(run):
    metrics, curves = run.metrics, run.curves
    assert list(curves) == ["method", "lam", "seed", "pruned_percent", "accuracy"]
    assert len(curves) == 2 * 10
    assert (metrics["evidence"] - (metrics["log_likelihood"] - metrics["lam"] * metrics["kl"])).abs().max() < 1e-6
    whole = curves[curves["pruned_percent"] == 0]["accuracy"].tolist()
    assert metrics["accuracy"].tolist() == whole


def test_a_run_of_the_largest_seed_and_of_lambdas_that_hardly_differ_is_read_again(small):
    made = perform.perform("a_direct", small | {"seeds": [2**63 - 1], "lambdas": [0.1, 0.1000001]})
    assert read(made.folder) == made
    assert list(history.summary(made)["metrics"]) == ["0.1", "0.1000001"]


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ({"epochs": "2"}, True),
        ({"epochs": "25"}, False),  # the profile would make it 2
        ({"seeds": "0"}, True),
        ({"seeds": "0,1"}, False),
        ({"momentum": "0.9"}, False),  # adam has none
        ({"profile": "quick", "hidden": "6"}, True),
        ({"profile": "paper"}, False),
    ],
)
def test_only_a_run_that_has_the_values_matches(run, wanted, there):
    assert history.matching([run], wanted) == [run] * there


def test_what_a_profile_made_of_a_run_is_not_what_the_run_changed(run):
    larger = history.derived("a_direct", {"profile": "paper"}, run.id)
    usual = parameters.check("a_direct", chapters.defaults("a_direct"))
    assert (larger.seeds, larger.epochs) == (usual.seeds, usual.epochs)
    assert larger.hidden == run.parameters.hidden != usual.hidden
    assert history.derived("a_direct", {}, run.id) == run.parameters


def test_a_process_that_has_read_other_sources_records_no_run(run, small, monkeypatch):
    monkeypatch.setitem(perform.IMPORTED, "direct", "of a file edited since then")
    assert perform.perform("a_direct", small) == run
    with pytest.raises(RunError, match="restart the kernel"):
        perform.perform("a_direct", small | {"prior_std": 1.0})
    assert on_record() == [run]


def test_a_chapter_that_is_stopped_leaves_no_part_of_a_notebook(run, tmp_path, monkeypatch):
    def stopped(source, target, *_, **__):
        Path(target).write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr("papermill.execute_notebook", stopped)
    with pytest.raises(KeyboardInterrupt):
        history.execute(run, tmp_path / "new" / "a.ipynb")
    assert not list((tmp_path / "new").iterdir())


def test_the_recorded_posterior_gives_the_recorded_kl(run):
    assert kl(run.posterior, 0.1).tolist() == pytest.approx(run.metrics["kl"].tolist(), rel=1e-5)


@pytest.mark.parametrize("name", [*ARTEFACTS, "science/training.py"])
def test_a_byte_changed_in_an_artefact_is_named(run, small, name):
    content = bytearray((run.folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run.folder / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{name} is missing, or isn't the file of its receipt"):
        perform.perform("a_direct", small)


@pytest.mark.parametrize("receipt", ["", "{", "[]", "{}", '{"artefacts": {}}'])
def test_a_damaged_receipt_is_named(run, receipt):
    (run.folder / "receipt.json").write_text(receipt)
    with pytest.raises(RunError, match=r"receipt\.json can't be read.*Delete the folder a_direct"):
        read(run.folder)


def test_a_folder_without_a_receipt_is_no_run(run, small, record):
    """What a kill leaves behind: a partial folder, never read, and in nobody's way."""
    run.folder.rename(record / ".partial-left")
    assert on_record() == []
    assert perform.perform("a_direct", small).receipt["artefacts"] == run.receipt["artefacts"]


def test_a_refused_or_diverged_run_leaves_nothing(small, record):
    for changes in ({"lambdas": [0]}, {"optimizer": "sgd", "learning_rate": 1e30, "clip": 0}):
        with pytest.raises((ValueError, ArithmeticError)):
            perform.perform("a_direct", small | changes)
    assert not record.exists() or not list(record.iterdir())


@pytest.fixture
def two_cores(monkeypatch):
    """However short, a training is spread over two cores."""
    monkeypatch.setattr(workers, "WORTH_A_PROCESS", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def rows_of_lambda_10(run) -> list[str]:
    """The bytes of one model's rows."""
    lines = [line for name in ("metrics.csv", "curves.csv") for line in (run.folder / name).read_text().splitlines()]
    return [line for line in lines if line.startswith("a,10.0,0,")]


def test_a_model_has_the_same_numbers_alone_and_in_a_stack(run, small):
    alone = perform.perform("a_direct", small | {"lambdas": [10]})
    three = perform.perform("a_direct", small | {"lambdas": [10, 1, 0.1]})
    assert len(rows_of_lambda_10(run)) == 1 + 10
    assert rows_of_lambda_10(alone) == rows_of_lambda_10(run) == rows_of_lambda_10(three)


def test_a_run_made_on_one_core_has_the_same_bytes_on_two(run, two_cores):
    assert run.receipt["cores"] == 1
    assert perform.verify(run).verdict == verification.SAME


@pytest.mark.deep
def test_three_models_on_two_cores_have_the_numbers_of_each_alone(run, small, two_cores):
    three = perform.perform("a_direct", small | {"lambdas": [10, 1, 0.1]})
    assert three.receipt["cores"] == 2
    assert rows_of_lambda_10(three) == rows_of_lambda_10(run)


def test_a_stack_too_large_for_the_memory_is_trained_in_halves(small, digits, monkeypatch, tmp_path):
    """On a device that holds two models."""
    p = parameters.check("a_direct", small)
    models = [Model(lam, seed) for lam in (0.1, 1.0, 10.0) for seed in (0, 1)]
    with progress.bar(tmp_path, "test", 6 * p.epochs) as bar:
        whole = perform.train_here(p, digits, [(models, None)], bar)
        unlimited, sizes = kernels.stepper, []

        def limited(method, digits, settings):
            stepper = unlimited(method, digits, settings)

            def of(params):
                sizes.append(len(params["mean.b1"]))
                if sizes[-1] > 2:
                    raise torch.OutOfMemoryError
                return stepper(params)

            return of

        monkeypatch.setattr(kernels, "stepper", limited)
        bar.show(0, 0.0)
        split = perform.train_here(p, digits, [(models, None)], bar)
        assert bar.n == 6 * p.epochs
    assert list(dict.fromkeys(sizes)) == [6, 3, 1, 2]
    together, apart = (pd.concat([part.tables["metrics"] for part in parts]) for parts in (whole, split))
    pd.testing.assert_frame_equal(together, apart.reset_index(drop=True), rtol=1e-4)


def test_an_estimate_has_a_start_up_and_the_range_of_its_like(run):
    """Of runs like it that took 25, 45 and 65 s on one core, and of a short one that is mostly start-up."""
    p, data = run.parameters, run.receipt["data"]

    def past(*seconds: float) -> list[tuple[float, float]]:
        runs = [run._replace(receipt=run.receipt | {"seconds": each, "cores": 1}) for each in seconds]
        return history.like("a", "cpu", runs)

    expected = history.estimate(p, data["train"], past(25.0, 45.0, 65.0))
    assert expected
    assert [expected.least, expected.seconds, expected.most] == pytest.approx([27, 45, 63])
    assert str(expected) == "about 45 s (27 s to 63 s)"
    short = history.estimate(p, data["train"], past(2.4))
    assert str(short) == "about 2 s"
