"""What the paper's text asserts, each sentence as a test on recorded runs.

The thresholds stand here. They were written before the first runs of (c) to (f), and after a first run of (a) and (b),
whose tables had been seen, but not their pruning curves.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from complexity_control.runs import Run
from complexity_control.verdicts import removable, total_updates

LOSS = 0.05  # a fall of accuracy by more is "significant"; the paper names no number
FLAT = 0.02  # a curve that moves by less is "constant"
SMALL_SD = 0.01  # a standard deviation over seeds below it is "insignificant"
SAME = 0.10  # stabilities that differ by less, relatively, are "the same"
NEAR = 0.03  # "about 0.90"
SIMILAR = 0.05  # accuracies that differ by less are "similar": a "slight loss"

SMALL = (0.1, 1.0, 10.0)
ALL = (*SMALL, 100.0)

Outcome = dict[str, tuple[str, bool]]  # case -> what was measured, and whether it is as claimed


class Evidence(NamedTuple):
    """Means and standard deviations over seeds, by method."""

    mean: dict[str, pd.DataFrame]  # accuracy, lambda × percent removed
    sd: dict[str, pd.DataFrame]
    stability: dict[str, pd.Series]  # by lambda
    evidence: dict[str, pd.Series]
    updates: dict[str, float]  # for one seed and all four lambdas


class Claim(NamedTuple):
    name: str
    methods: str  # letters whose runs it needs
    text: str
    quantity: str
    test: str
    outcome: Callable[[Evidence], Outcome]


def gather(runs: Mapping[str, Run]) -> Evidence:
    """What the claims are about, at the paper's lambdas."""
    mean, sd, stability, evidence, updates = {}, {}, {}, {}, {}
    for method, run in runs.items():
        points = run.curves[run.curves["lam"].isin(ALL)].groupby(["lam", "pruned_percent"])["accuracy"]
        mean[method], sd[method] = points.mean().unstack(), points.std().unstack()
        metrics = run.metrics[run.metrics["lam"].isin(ALL)]
        stability[method] = metrics.groupby("lam")["stability"].mean()
        evidence[method] = metrics.groupby("lam")["evidence"].mean()
        updates[method] = float(total_updates(metrics).mean())
    return Evidence(mean, sd, stability, evidence, updates)


def judge(runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row for each claim: claim, quantity, value, test, verdict, run.

    The verdict is holds if every case does, holds in part if some do, does not hold if none does, and not tested
    without the runs, or with runs that are not at the paper's scale.
    """
    usable = {method: run for method, run in runs.items() if run.parameters.profile == "paper"}
    e = gather(usable)
    rows = []
    for claim in CLAIMS:
        outcome = claim.outcome(e) if set(claim.methods) <= set(usable) else {}
        rows.append(
            {
                "name": claim.name,
                "claim": claim.text,
                "quantity": claim.quantity,
                "value": "; ".join(f"{case}: {value}{'' if ok else ' (not)'}" for case, (value, ok) in outcome.items()),
                "test": claim.test,
                "verdict": _verdict([ok for _, ok in outcome.values()]),
                "run": " ".join(runs[m].id for m in claim.methods if m in runs),
            }
        )
    return pd.DataFrame(rows)


def _verdict(cases: list[bool]) -> str:
    if not cases:
        return "not tested"
    return "holds" if all(cases) else "holds in part" if any(cases) else "does not hold"


def _loss(method: str, lambdas: tuple[float, ...], before: int, after: int, significant: bool) -> Callable:
    """Whether removing up to `after` percent instead of `before` costs a significant share of accuracy, or doesn't."""

    def outcome(e: Evidence) -> Outcome:
        curves = e.mean[method]
        pairs = {lam: (curves[before][lam], curves[after][lam]) for lam in lambdas}
        return {_at(lam): (f"{a:.3f} → {b:.3f}", bool(a - b > LOSS) is significant) for lam, (a, b) in pairs.items()}

    return outcome


def _compared(
    pick: Callable[[Evidence, str], pd.Series], left: str, right: str, lambdas: tuple[float, ...] = ALL
) -> Callable:
    """Whether a quantity of one method lies above another's, lambda by lambda."""

    def outcome(e: Evidence) -> Outcome:
        one, other = pick(e, left), pick(e, right)
        return {
            _at(lam): (
                f"({left}) {one[lam]:.3f}, ({right}) {other[lam]:.3f}",
                bool(one[lam] > other[lam]),
            )
            for lam in lambdas
        }

    return outcome


def _at(lam: float) -> str:
    return f"λ={lam:g}"


def _accuracy(e: Evidence, method: str) -> pd.Series:
    return e.mean[method][0]


def _spread(e: Evidence, method: str) -> pd.Series:
    """Standard deviation over seeds, averaged over the pruning levels."""
    return e.sd[method].mean(axis="columns")


def _late_spread(e: Evidence, method: str) -> pd.Series:
    return e.sd[method][[70, 80, 90]].mean(axis="columns")


def _stability(e: Evidence, method: str) -> pd.Series:
    return e.stability[method]


def _falls_everywhere(e: Evidence) -> Outcome:
    bends = {0.1: 60, 1.0: 60, 10.0: 80, 100.0: 80}
    pairs = {lam: (e.mean["a"][at][lam], e.mean["a"][90][lam]) for lam, at in bends.items()}
    return {_at(lam): (f"{a:.3f} → {b:.3f}", bool(b < a)) for lam, (a, b) in pairs.items()}


def _large_lambda_is_flat(e: Evidence) -> Outcome:
    curve = e.mean["a"].loc[100.0]
    return {_at(100): (f"moves by {curve.max() - curve.min():.3f}", bool(curve.max() - curve.min() <= LOSS))}


def _large_lambda_is_low(e: Evidence) -> Outcome:
    low, others = _accuracy(e, "a")[100.0], _accuracy(e, "a")[list(SMALL)]
    return {_at(100): (f"{low:.3f} against {others.min():.3f} or more", bool(others.min() - low > LOSS))}


def _linear_is_constant(e: Evidence) -> Outcome:
    curves = e.mean["e"].loc[list(SMALL), list(range(0, 70, 10))]
    moves = curves.max(axis="columns") - curves.min(axis="columns")
    return {_at(lam): (f"moves by {moves[lam]:.3f}", bool(moves[lam] <= FLAT)) for lam in SMALL}


def _linear_is_about_090(e: Evidence) -> Outcome:
    curves = e.mean["e"].loc[list(SMALL), list(range(0, 70, 10))].mean(axis="columns")
    return {_at(lam): (f"{curves[lam]:.3f}", bool(abs(curves[lam] - 0.9) <= NEAR)) for lam in SMALL}


def _linear_spread_is_small(e: Evidence) -> Outcome:
    sd = e.sd["e"].loc[list(SMALL), list(range(0, 70, 10))].max(axis="columns")
    return {_at(lam): (f"{sd[lam]:.3f}", bool(sd[lam] <= SMALL_SD)) for lam in SMALL}


def _same_stability(e: Evidence) -> Outcome:
    ratio = e.stability["d"] / e.stability["c"]
    return {_at(lam): (f"ratio {ratio[lam]:.3f}", bool(abs(ratio[lam] - 1) <= SAME)) for lam in ALL}


def _one_epoch_is_not_enough(e: Evidence) -> Outcome:
    gap = (e.evidence["a"] - e.evidence["b"]) / e.evidence["a"].abs()
    return {_at(lam): (f"evidence worse by {gap[lam]:.0%}", bool(gap[lam] > 0.1)) for lam in ALL}


def _fewer_updates(e: Evidence) -> Outcome:
    return {f"({m})": (f"{e.updates[m] / e.updates['a']:.1%} of (a)'s", e.updates[m] < e.updates["a"]) for m in "cdef"}


def _similar(e: Evidence) -> Outcome:
    gaps = {(m, lam): _accuracy(e, "a")[lam] - _accuracy(e, m)[lam] for m in "cdef" for lam in ALL}
    return {f"({m}) {_at(lam)}": (f"{-gap:+.3f}", bool(gap <= SIMILAR)) for (m, lam), gap in gaps.items()}


def _less_accurate(e: Evidence) -> Outcome:
    gaps = {(m, lam): _accuracy(e, m)[lam] - _accuracy(e, "a")[lam] for m in "ce" for lam in ALL}
    return {f"({m}) {_at(lam)}": (f"{gap:+.3f}", bool(gap < 0)) for (m, lam), gap in gaps.items()}


def _prunes_alike(e: Evidence) -> Outcome:
    ours = removable(e.mean["a"], LOSS)
    theirs = {m: removable(e.mean[m], LOSS) for m in "cdef"}
    cases = {(m, lam): (theirs[m][lam], ours[lam]) for m in "cdef" for lam in ALL}
    return {f"({m}) {_at(lam)}": (f"{t:.0f}% against {o:.0f}%", abs(t - o) <= 20) for (m, lam), (t, o) in cases.items()}


LOST = f"at most {LOSS} of accuracy is lost"
CLAIMS = [
    Claim("a-60", "a", "Direct training: about 60% of the weights can go at λ = 0.1 and 1 without a significant loss",
          "accuracy with 0% and 60% removed", LOST, _loss("a", (0.1, 1.0), 0, 60, False)),
    Claim("a-80", "a", "Direct training: about 80% can go at λ = 10 and 100 without a significant loss",
          "accuracy with 0% and 80% removed", LOST, _loss("a", (10.0, 100.0), 0, 80, False)),
    Claim("a-fall", "a", "Direct training: removing more lowers the quality at every λ",
          "accuracy at 60% or 80%, and at 90% removed", "it falls", _falls_everywhere),
    Claim("a-flat", "a", "Direct training: at the largest λ removing weights hardly changes the accuracy",
          "range of the accuracy over 0–90% removed", f"at most {LOSS}", _large_lambda_is_flat),
    Claim("a-low", "a", "Direct training: at the largest λ the accuracy is low from the start",
          "accuracy of the whole network", f"more than {LOSS} below every smaller λ", _large_lambda_is_low),
    Claim("b-epoch", "ab", "One epoch is not enough for a model trained directly",
          "evidence of (b) against (a)", "worse by more than 10%", _one_epoch_is_not_enough),
    Claim("c-lower", "ac", "Low-rank: the accuracy at λ = 0.1 to 10 is lower than with direct training",
          "accuracy of the whole network", "(a) above (c)", _compared(_accuracy, "a", "c", SMALL)),
    Claim("c-spread", "ac", "Low-rank: the deviation from the mean is much larger",
          "standard deviation over seeds, mean over pruning levels", "(c) above (a)", _compared(_spread, "c", "a")),
    Claim("c-stable", "ac", "Low-rank: the model is more stable at every λ",
          "stability S, 1 is best", "(a) above (c)", _compared(_stability, "a", "c")),
    Claim("c-80", "c", "Low-rank: there is a large loss when more than 80% are removed",
          "accuracy with 80% and 90% removed", f"it falls by more than {LOSS}", _loss("c", ALL, 80, 90, True)),
    Claim("e-flat", "e", "Linear: the accuracy at λ = 0.1 to 10 is constant up to 60% removed",
          "range of the accuracy over 0–60% removed", f"at most {FLAT}", _linear_is_constant),
    Claim("e-090", "e", "Linear: that constant is about 0.90",
          "mean accuracy over 0–60% removed", f"within {NEAR} of 0.90", _linear_is_about_090),
    Claim("e-spread", "e", "Linear: the deviations at λ = 0.1 to 10 are small",
          "largest standard deviation over 0–60% removed", f"at most {SMALL_SD}", _linear_spread_is_small),
    Claim("e-stable-a", "ae", "Linear: more stable than direct training",
          "stability S, 1 is best", "(a) above (e)", _compared(_stability, "a", "e")),
    Claim("e-stable-c", "ce", "Linear: more stable than low-rank",
          "stability S, 1 is best", "(c) above (e)", _compared(_stability, "c", "e")),
    Claim("d-higher", "cd", "Low-rank, fine-tuned: the accuracy is higher than before",
          "accuracy of the whole network", "(d) above (c)", _compared(_accuracy, "d", "c")),
    Claim("d-spread", "cd", "Low-rank, fine-tuned: the deviation from the mean is smaller",
          "standard deviation over seeds, mean over pruning levels", "(c) above (d)", _compared(_spread, "c", "d")),
    Claim("d-stable", "cd", "Low-rank, fine-tuned: the stability is the same",
          "ratio of the stabilities", f"within {SAME:.0%} of 1", _same_stability),
    Claim("d-80", "d", "Low-rank, fine-tuned: at every λ there is a large loss when more than 80% are removed",
          "accuracy with 80% and 90% removed", f"it falls by more than {LOSS}", _loss("d", ALL, 80, 90, True)),
    Claim("d-100-accuracy", "cd", "Low-rank, fine-tuned: more accurate at λ = 100",
          "accuracy of the whole network", "(d) above (c)", _compared(_accuracy, "d", "c", (100.0,))),
    Claim("d-100-stable", "cd", "Low-rank, fine-tuned: more stable at λ = 100",
          "stability S, 1 is best", "(c) above (d)", _compared(_stability, "c", "d", (100.0,))),
    Claim("f-higher", "ef", "Linear, fine-tuned: the accuracy is higher than before at every λ",
          "accuracy of the whole network", "(f) above (e)", _compared(_accuracy, "f", "e")),
    Claim("f-spread", "ef", "Linear, fine-tuned: the deviation is much larger when more than 60% are removed",
          "standard deviation over seeds, mean over 70–90% removed", "(f) above (e)",
          _compared(_late_spread, "f", "e")),
    Claim("f-less", "ef", "Linear, fine-tuned: less stable than before",
          "stability S, 1 is best", "(f) above (e)", _compared(_stability, "f", "e")),
    Claim("f-more", "af", "Linear, fine-tuned: still more stable than direct training",
          "stability S, 1 is best", "(a) above (f)", _compared(_stability, "a", "f")),
    Claim("f-100", "ef", "Linear, fine-tuned: more accurate at λ = 100",
          "accuracy of the whole network", "(f) above (e)", _compared(_accuracy, "f", "e", (100.0,))),
    Claim("all-similar", "acdef", "Hypernetworks give similar results with a slight loss of quality",
          "accuracy against (a)", f"at most {SIMILAR} lower", _similar),
    Claim("end-lower", "ace", "Conclusion: hypernetworks are less accurate than ordinary models",
          "accuracy against (a)", "lower", _less_accurate),
    Claim("end-cost", "acdef", "Conclusion: hypernetworks cost less",
          "updates for four λ and one seed", "fewer than (a)'s", _fewer_updates),
    Claim("end-pruning", "acdef", "Conclusion: the properties under pruning are kept",
          f"percent of weights that can go for a loss of {LOSS}", "within 20 points of (a)'s", _prunes_alike),
]  # fmt: skip
