"""A recorded run trained again: the same bytes, within the seeds' interval, or different."""

import pytest

from ccbook import perform
from ccbook.records import provenance, verification
from ccbook.wording import assignments
from tests.helpers import ccbook, ended, like, on_record, resealed


@pytest.fixture
def seeds(small):
    """A run of three seeds, on record."""
    return perform.perform("a_direct", small | {"profile": "paper", "seeds": [0, 1, 2], "epochs": 1})


def shifted(run, by: float):
    """The run as another machine recorded it: its accuracies off by this share of their interval over the seeds."""
    metrics = run.metrics
    for lam, rows in metrics.groupby("lam"):
        half = verification.interval(rows["evidence"])
        metrics.loc[metrics["lam"] == lam, "evidence"] += by * half
    text = metrics.to_csv(index=False, lineterminator="\n")
    return resealed(run, {"metrics.csv": text}, processor="A machine far away")


def test_a_run_trained_again_here_has_the_same_bytes(run):
    before = (run.folder / "receipt.json").read_bytes()
    assert f"{run.id}: the same bytes" in ended(ccbook("verify", run.id[:14]))
    assert (run.folder / "receipt.json").read_bytes() == before
    assert on_record() == [run]


@pytest.mark.parametrize(("by", "verdict", "status"), [(0.5, "within the seeds' interval", 0), (3, "different", 1)])
def test_a_run_from_elsewhere_is_held_against_its_seeds(seeds, by, verdict, status):
    recorded = shifted(seeds, by)
    said = ended(ccbook("verify", recorded.id), status)
    assert f"{recorded.id}: {verdict}" in said
    assert "the evidence at lambda" in said
    assert f"{by:.2g} times the half width of the interval over 3 seeds" in said
    assert "recorded on A machine far away" in said
    assert f"torch {recorded.receipt['versions']['torch']}" in said
    assert f"now on {seeds.receipt['processor']}" in said
    assert on_record() == [recorded]


def test_of_one_seed_only_the_same_bytes_agree(run):
    metrics = run.metrics.assign(kl=run.metrics["kl"] * 1.000001)
    recorded = resealed(run, {"metrics.csv": metrics.to_csv(index=False)})
    assert "different; one seed has no interval" in ended(ccbook("verify", recorded.id), 1)


def test_a_fine_tuning_is_verified_from_the_start_on_record(small):
    for method in ("c", "d"):
        ended(ccbook("run", method, *assignments({n: v for n, v in small.items() if n not in ("force", "epochs")})))
    assert "the same bytes" in ended(ccbook("verify", "d_"))


def test_a_verdict_says_that_the_code_is_another(seeds, monkeypatch):
    sources = provenance.sources
    monkeypatch.setattr(provenance, "sources", lambda function: sources(function) | {"more.py": "x = 1"})
    assert "; the code, or torch, has changed since)" in ended(ccbook("verify", shifted(seeds, 3).id), 1)


def test_other_digits_in_the_place_of_a_runs_are_refused(run, folder):
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1] + b"\x07")
    assert f"no longer has the digits that {run.id} saw" in ended(ccbook("verify", run.id), 2)


def test_what_cant_be_trained_again_is_refused(run):
    assert "no run 'nobody' is on record" in ended(ccbook("verify", "nobody"), 2)
    parameters = run.receipt["parameters"] | {"dataset": "/nowhere"}
    recorded = resealed(run, parameters=parameters)
    assert "/nowhere" in ended(ccbook("verify", recorded.id), 2)


def test_force_trains_again_says_whether_the_bytes_are_the_same_and_leaves_the_record(run, small, capfd):
    before = (run.folder / "receipt.json").read_bytes()
    capfd.readouterr()
    assert perform.perform("a_direct", small | {"force": True}) == run
    said = capfd.readouterr().err
    assert "epoch" in said
    assert f"{run.id}: the same bytes" in said
    assert (run.folder / "receipt.json").read_bytes() == before
    assert [path.name for path in run.folder.parent.glob("[!.]*")] == [run.id]


def test_force_makes_a_run_that_is_not_on_record(small):
    made = perform.perform("a_direct", small | {"force": True})
    assert on_record() == [made]


def test_diff_shows_where_the_code_of_two_runs_differs(run):
    training = run.sources["training.py"]
    assert "losses = -evidence(" in training
    text = training.replace("losses = -evidence(", "losses = evidence(")
    other = like(run, "a_direct-earlier", {"science/training.py": text})
    said = ended(ccbook("diff", other.id, run.id))
    assert "--- a_direct-earlier/training.py" in said
    assert f"+++ {run.id}/training.py" in said
    changed = [line for line in said.splitlines() if line.startswith(("-    ", "+    "))]
    assert [line.split("(")[0] for line in changed] == ["-    losses = evidence", "+    losses = -evidence"]
    assert "code: the same" in ended(ccbook("diff", like(run, "a_direct-twin").id, run.id))
    without = like(run, "a_direct-without")
    receipt = {name: sha256 for name, sha256 in without.receipt["artefacts"].items() if not name.endswith(".py")}
    without.receipt["artefacts"] = receipt
    resealed(without)
    assert "only one of the runs kept its sources" in ended(ccbook("diff", run.id, without.id))
