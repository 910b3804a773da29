"""The benchmarks run and count; what they time is no test."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ccbook import ROOT
from ccbook.book import benchmark_page, formats
from ccbook.book.benchmark_page import Recorded
from tests.helpers import ended


def benchmark(script: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *words]
    environment = os.environ | {"TORCHDYNAMO_DISABLE": "1"}  # compiling takes longer than all the rest
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick benchmark of few competitors, and of the shortest trainings, records."""
    out = tmp_path_factory.mktemp("out")
    names = ["ours-uncompiled", "plain", *(["jax", "torchbnn"] if (ROOT / ".venv-bench" / "ready").is_file() else [])]
    chosen = [word for name in names for word in ("--only", name)]
    for done in (
        benchmark("speed.py", "--quick", "--out", str(out), *chosen),
        benchmark("growth.py", "--quick", "--out", str(out), "--only", "width"),
    ):
        assert done.returncode == 0, done.stderr
    return out


@pytest.mark.deep
def test_ours_and_the_peers_count_the_same_products(out):
    """Local reparameterisation multiplies twice forward and twice for the gradient; 81.8 MFLOP with layer 2's six."""
    bench = pd.read_csv(out / "bench.csv").set_index("name")
    local = bench[bench["estimator"] == "local reparameterisation"]
    assert {"ours-uncompiled", "plain"} <= set(local.index)
    assert set(local["matmuls_layer_1"]) == {4}
    assert set(local["mflop"]) == {(4 * 2 * 128 * 784 * 100 + 6 * 2 * 128 * 100 * 10) / 1e6}
    assert set(bench.drop(index=local.index)["matmuls_layer_1"]) <= {2}


@pytest.mark.deep
def test_shares_of_the_peak_follow_from_products_and_time(out):
    bench, about = pd.read_csv(out / "bench.csv"), json.loads((out / "bench.json").read_text())
    speeds = bench["mflop"] / bench["ms"]
    assert list(bench["peak_share"]) == pytest.approx(list(speeds / about["gflops"]), rel=1e-2)
    assert (bench["ms_min"] <= bench["ms"]).all()
    assert (bench["ms"] <= bench["ms_max"]).all()
    assert about["steps_of_a"] == 469 * 25 * 20


@pytest.mark.deep
def test_growth_has_time_and_memory_of_each_point(out):
    growth = pd.read_csv(out / "scaling.csv")
    assert list(growth["value"]) == [50, 100]
    assert (growth["ms"] > 0).all()
    assert (growth["memory_mb"] >= growth["memory_before_mb"]).all()


@pytest.mark.parametrize("script", ["speed", "growth"])
def test_a_look_never_overwrites_the_books_record(script, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    message = ended(CliRunner().invoke(import_module(script).main, ["--quick"]), 2)
    assert "give --out FOLDER" in message


def test_a_peer_that_isnt_installed_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    race = import_module("speed")
    monkeypatch.setitem(race.PEERS, "gone", race.PEERS["jax"]._replace(environment=".venv-of-nobody"))
    _, heard, failed = race.race(["gone"], repeats=1, passes=1)
    assert heard == {"gone": []}
    assert failed == {"gone": "not installed; `make bench` does it"}


def test_an_exponent_is_the_power_that_made_the_points():
    points = pd.DataFrame({"value": [1, 10, 100], "ms": [3.0, 3 * 10**0.5, 30.0]})
    assert benchmark_page.exponent(points, "ms") == pytest.approx(0.5)


def test_the_page_without_a_record_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"bench.csv isn't there: `make bench`"):
        benchmark_page.recorded()


def test_the_verdict_compares_with_autograd_and_with_the_fastest_peer():
    """The dense limit of 80.3 MFLOP at 160.6 GFLOP/s is half a millisecond."""
    rows = [("ours", "ours", 1.0), ("ours-noise", "noise", 2.0), ("plain", "by hand", 3.0), ("fast", "fast", 1.5)]
    bench = pd.DataFrame(rows, columns=["name", "label", "ms"]).assign(kind="step", version="1.2")
    about = {"batch": 128, "gflops": 160.5632}
    sentence = benchmark_page.verdict(Recorded(bench, about, bench, bench)).data
    assert "1.00 ms, 2.0 times the dense limit" in sentence
    assert "whole matrices and takes 2.00 ms" in sentence
    assert "Adam takes 3.0 times as long" in sentence
    assert "fast 1.2, 1.50 times" in sentence


def test_half_precision_is_judged_by_verdicts_and_intervals():
    bench = pd.DataFrame({"name": ["ours", "ours-bfloat16", "ours-compiled"], "ms": [1.0, 0.5, 2.0]})
    cells = pd.DataFrame(
        {
            "table": 3, "quantity": "evidence", "method": list("aab"), "lam": [0.1, 1, np.nan],
            "mean_float32": [5.0, 5.0, 7.0], "low_float32": [4.0, 4.0, np.nan], "high_float32": [6.0, 6.0, np.nan],
            "mean_bfloat16": [5.5, 6.5, 7.0],
            "verdict_float32": "agrees", "verdict_bfloat16": ["agrees", "close", "agrees"],
        }
    )  # fmt: skip
    sentence = benchmark_page.bfloat16(Recorded(bench, {}, bench, cells)).data
    assert "0.50 ms by `precision: bfloat16`" in sentence
    assert "1.00 by `float32`" in sentence
    assert "Of the 3 verdicts on Tables 1–3, 2 are the same" in sentence
    assert "Table 3, evidence of (a) at λ = 1: agrees, then close" in sentence
    assert "2 means lie in the 95% interval" in sentence


def test_half_precision_is_compared_with_the_tables_of_the_book():
    home = formats.folder("paper")
    tables = pd.concat(pd.read_csv(home / f"table{k}.csv") for k in (1, 2, 3))
    both = pd.read_csv(home / "precision.csv").merge(tables, on=["table", "quantity", "method", "lam"])
    assert len(both) == len(tables) == len(pd.read_csv(home / "precision.csv"))
    assert both["verdict_float32"].tolist() == both["verdict"].tolist()
    assert both["mean_float32"].between(both["low"], both["high"])[both["low"].notna()].all()
