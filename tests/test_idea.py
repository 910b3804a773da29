"""The page on the idea: what it counts, what its line touches, its one weight, and words that follow the numbers."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch

from ccbook.book import idea, plots
from ccbook.records.run import Run
from complexity_control.posterior import Posterior

LAMS = [0.1, 1.0, 10.0, 100.0]


def run(evidence: list[float], used: list[int]) -> Run:
    """A run of one seed, with so many of five hidden units away from the prior at each lambda."""
    mean = torch.zeros(len(LAMS), 9, 5)
    for weights, number in zip(mean, used, strict=True):
        weights[:, :number] = 0.2  # a norm of 0.6, and 18 nats
    q = Posterior({"W1": mean}, {"W1": torch.full_like(mean, 0.1).log()})
    metrics = pd.DataFrame({"lam": LAMS, "seed": 0, "evidence": evidence})
    metrics = metrics.assign(kl=[80, 40, 20, 10], log_likelihood=[-10, -20, -40, -80])
    receipt = {"data": {"train": 10}, "git": {"commit": None}, "seconds": 1.0}
    parameters = SimpleNamespace(prior_std=0.1, profile="paper", device="cpu", chapter="a_direct")
    return cast(Run, SimpleNamespace(posterior=q, metrics=metrics, parameters=parameters, receipt=receipt, id="run"))


FLAT, FALLING = [2, 2, 2, 2], [5, 4, 3, 1]
DIRECT = [-10.0, -20.0, -40.0, -80.0]
RUNS = {"a": run(DIRECT, FALLING), "c": run([2 * e for e in DIRECT], FLAT),
        "e": run([*DIRECT[:3], -88.0], FLAT), "g": run([-9.0, *(1.04 * e for e in DIRECT[1:])], FALLING)}  # fmt: skip


@pytest.fixture
def points(tmp_path, monkeypatch) -> pd.DataFrame:
    """The plane of those runs, with a network of (g) at another lambda."""
    asked = {"method": "g", "lam": [1.0, 3.0, 300.0], "kl": [999, 30, 1], "log_likelihood": [-999, -28, -99]}
    pd.DataFrame(asked).to_csv(tmp_path / "one_network.csv", index=False)
    monkeypatch.setattr(idea, "folder", lambda profile: tmp_path)
    return idea.plane(RUNS, "paper")


def test_a_unit_is_in_use_if_it_is_away_from_the_prior():
    counts = idea.units(RUNS).set_index(["method", "lam"])
    assert counts.loc["a", "by_norm"].tolist() == counts.loc["a", "by_kl"].tolist() == FALLING
    assert set(counts["of"]) == {5}
    assert "16 of the 16 counts differ by 3 units or less." in idea.check(idea.units(RUNS)).data


def test_a_unit_whose_means_are_zero_and_whose_widths_are_not_the_priors_is_seen_by_kl_alone():
    odd = run(DIRECT, [0, 0, 0, 0])
    odd.posterior.log_std["W1"][0] -= 3
    counts = idea.units({"a": odd})
    assert counts["by_norm"].tolist() == [0, 0, 0, 0]
    assert counts["by_kl"].tolist() == [5, 0, 0, 0]
    assert "(a) at λ = 0.1, 0 by norm and 5 by KL." in idea.check(counts).data


def test_the_answer_follows_the_numbers():
    text = idea.answer(idea.units(RUNS), RUNS).data
    assert "has 5 of its 5 hidden units in use at λ = 0.1 and 1 at λ = 100: λ sets how complex it is" in text
    assert "(c) keeps more than half of its units at every λ (2 to 2), and costs 100% to 100% more than (a)" in text
    assert "(e) keeps more than half of its units at every λ (2 to 2), and costs 0% to 10% more than (a)" in text
    assert "(g) gives up units as λ grows (5 to 1), and costs −10% to +4% against (a)" in text
    other = {**RUNS, "a": run(DIRECT, FLAT), "c": run([e / 2 for e in DIRECT], FLAT)}
    text = idea.answer(idea.units(other), other).data
    assert "λ doesn't set how complex it is" in text
    assert "(c) keeps more than half of its units at every λ (2 to 2), and costs 50% to 50% less than (a)" in text


def test_a_nat_is_1_44_bits_and_a_recorded_network_stays_the_recorded_one(points):
    own = points.set_index(["method", "lam"])
    assert own.loc[("a", 0.1), ["weights", "labels"]].tolist() == pytest.approx([11.5416, 1.4427], abs=1e-4)
    assert own.loc[("g", 1), "weights"] == own.loc[("a", 1), "weights"]
    assert own.loc[("g", 3), "labels"] == pytest.approx(28 / 10 / np.log(2))
    assert own.index.get_level_values("lam").max() == 100  # no hypernetwork was trained for more


@pytest.mark.parametrize(("lam", "touched"), [(0.01, 0.1), (0.4, 1), (1.1, 3), (3, 10), (30, 100)])
def test_the_line_touches_the_network_that_costs_least(points, lam, touched):
    best = idea.costs(points, lam).iloc[0]
    assert best["lam"] == touched
    assert ((points["labels"] + lam * points["weights"]) >= best["cost"]).all()
    assert f"At λ = {lam:.3g} the line touches {plots.look(best['method'])['title']}" in idea.touching(points, lam)


def test_no_other_posterior_of_a_weight_costs_less_than_the_best_and_no_other_line_less_than_the_straight_one():
    grid = torch.logspace(-1, 2, 61, dtype=torch.float64)
    rows = idea.weight(grid.tolist()).assign(cost=lambda t: t["fit"] + t["price"])
    best, line = (rows[rows["posterior"] == name] for name in ("best posterior", "straight line"))
    assert (line["cost"].to_numpy() >= best["cost"].to_numpy()).all()
    mean, log_std = torch.tensor(best["mean"].to_numpy()), torch.tensor(best["std"].to_numpy()).log()
    for change in (1e-3, -1e-3):
        for moved in ((mean + change, log_std), (mean, log_std + change)):
            assert (sum(idea._terms(*moved, grid)).numpy() > best["cost"].to_numpy()).all()  # type: ignore[union-attr]
        for k in range(4):
            other = [value + change * (k == place) for place, value in enumerate(idea.straight_line())]
            cost = sum(idea._terms(*idea._line(other, grid), grid)).mean()  # type: ignore[union-attr]
            assert cost > line["cost"].mean()


def test_the_pictures_say_what_they_show(points):
    counts = idea.units(RUNS)
    assert "(a), λ = 100: 1; (c), λ = 0.1: 2" in idea.units_figure(counts, RUNS).plain["text/plain"]
    assert idea.touching(points, 10) in idea.plane_figure(points, RUNS).plain["text/plain"]
    assert idea.weighed(100) in idea.weight_figure().plain["text/plain"]
