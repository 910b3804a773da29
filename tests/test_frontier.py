"""The derivation's frontier: the two terms of the generalised evidence of all methods."""

from types import SimpleNamespace
from typing import cast

import pandas as pd
import pytest

from ccbook.book import frontier
from ccbook.records.run import Run


def run(kl: list[float], log_likelihood: list[float]) -> Run:
    """A run of two lambdas and two seeds, whose means over the seeds are these, for ten digits."""
    rows = [(lam, seed, k + seed - 0.5, fit) for lam, k, fit in zip((1, 10), kl, log_likelihood, strict=True)
            for seed in (0, 1)]  # fmt: skip
    metrics = pd.DataFrame(rows, columns=["lam", "seed", "kl", "log_likelihood"])
    parameters = SimpleNamespace(profile="paper", chapter="a_direct")
    receipt = {"data": {"train": 10}, "git": {"commit": None}, "seconds": 1.0}
    return cast(Run, SimpleNamespace(metrics=metrics, receipt=receipt, parameters=parameters, id="run"))


RUNS = {"a": run([20, 5], [-30, -80]), "e": run([10, 5], [-50, -70])}


def test_a_point_lies_above_the_line_by_what_its_generalised_evidence_is_lower():
    points = frontier.points(RUNS).set_index(["method", "lam"])
    assert points.loc[("a", 1), ["kl", "misfit"]].tolist() == pytest.approx([2, 3])
    assert points.loc["a", "above"].tolist() == [0, 0]
    # at lambda 1 (a) has -30 - 20, (e) -50 - 10; at 10, -80 - 50 and -70 - 50
    assert points.loc["e", "above"].tolist() == pytest.approx([1, -1])


def test_the_picture_says_what_it_shows():
    artefact = frontier.chart(RUNS)
    assert "1 of the 2 other points lie above" in artefact.content["myst"]
    assert "(e), λ = 10: KL 0.5, negative log-likelihood 7" in artefact.plain["text/plain"]
