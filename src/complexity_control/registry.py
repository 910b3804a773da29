"""All runs on record together: found, filtered, compared, priced and removed."""

import contextlib
import difflib
import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from complexity_control import chapters, experiment, reported, runs, training
from complexity_control.data import ROOT, Digits
from complexity_control.parameters import (
    FineTuning,
    Hypernetwork,
    ParameterError,
    Parameters,
    check,
    defaults,
    resolved,
    unknown,
)
from complexity_control.runs import Run, RunError
from complexity_control.tables import count
from complexity_control.training import Model


class Damaged(NamedTuple):
    """A run that isn't what its receipt says."""

    id: str
    fault: str


def every() -> tuple[list[Run], list[Damaged]]:
    """All runs on record, and those that can't be used; the large artefacts are left to `ccbook check`."""
    whole, damaged = [], []
    for folder in runs.folders():
        try:
            whole.append(runs.read(folder, "*.csv"))
        except RunError as error:
            damaged.append(Damaged(folder.name, str(error)))
    return whole, damaged


def name(given: str) -> str:
    """The run's whole name, from the name or its beginning.

    Raises: RunError, with the nearest name.
    """
    there = [folder.name for folder in runs.folders()]
    matching = [given] if given in there else [other for other in there if given and other.startswith(given)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise RunError(f"{len(matching)} runs begin with {given!r}: {', '.join(matching[:10])}. Give more of the name")
    close = difflib.get_close_matches(given, there, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "`ccbook runs` lists those that there are"
    raise RunError(f"no run {given!r} is on record: {hint}")


def find(given: str) -> Run:
    """The run of this name or beginning of a name, whole.

    Raises: RunError.
    """
    return runs.read(runs.home() / name(given))


def changes(p: Parameters) -> dict[str, Any]:
    """What a run was given that its chapter doesn't say; empty for the book's own."""
    usual = check(p.chapter, defaults(p.chapter) | {"profile": p.profile}).model_dump(mode="json")
    changed = {n: value for n, value in p.model_dump(mode="json").items() if n != "force" and value != usual[n]}
    if p.profile != defaults(p.chapter)["profile"]:
        changed |= {"profile": p.profile}
    if isinstance(p, FineTuning) and _starts_as_usual(p):
        changed.pop("start", None)
    return changed


def _starts_as_usual(p: FineTuning) -> bool:
    """Whether a fine-tuning begins where its other parameters alone would have led it."""
    with contextlib.suppress(ValueError):  # the start is no longer on record, or its dataset isn't here
        begin = runs.read(runs.home() / p.start, "*.csv")
        usual = p.model_copy(update={"start": reported.CHAPTERS[reported.STARTS[p.method]]})
        return begin.parameters == runs.needed(usual)
    return False


def is_books(run: Run) -> bool:
    """Whether the paper's tables stand on this run, or would: nothing is changed, and it is of the present code."""
    return run.current and not changes(run.parameters)


def command(p: Parameters) -> str:
    """What to type to make the run again."""
    return shlex.join(["ccbook", "run", p.chapter, *assignments(changes(p))])


def assignments(values: Mapping[str, Any]) -> list[str]:
    """Parameters as words of the command line."""
    words = [f"{n}={word(value)}" for n, value in values.items()]
    return ["--set", *words] if words else []


def word(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return ",".join(map(word, value))  # brackets would have to be quoted
    return value if isinstance(value, str) else json.dumps(value)


def said(values: Mapping[str, Any]) -> str:
    """Parameters for a reader."""
    return ", ".join(f"{n} = {v}" for n, v in values.items())


def given(chapter: str, changed: Mapping[str, Any], origin: str | None) -> dict[str, Any]:
    """Parameters for a chapter: its own, under those of another run, under those that are changed.

    Args: origin, a run's name; of another chapter's run only what it changed is taken, where this chapter has it.
    Raises: RunError.
    """
    values = defaults(chapter)
    if origin is not None:
        p = find(origin).parameters
        differing = changes(p)
        taken = p.model_dump(mode="json") if p.chapter == chapter else differing
        if "start" not in differing or p.chapter != chapter:
            taken.pop("start", None)  # follows from the others
        values |= {n: value for n, value in taken.items() if n in values}
    return values | dict(changed)


def _beside(values: Mapping[str, Any], *shown: str) -> dict[str, Any]:
    return {n: value for n, value in values.items() if n not in shown}


def matching(listed: Sequence[Run], wanted: Mapping[str, str]) -> list[Run]:
    """The runs that have these parameters, each cast as if a run were asked for with it.

    Raises: ParameterError.
    """
    known = list(
        dict.fromkeys(parameter.name for chapter in chapters.names() for parameter in chapters.parameters(chapter))
    )
    faults = [unknown(parameter, known) for parameter in wanted if parameter not in known]
    if faults:
        raise ParameterError("; ".join(faults))
    return [run for run in listed if _has(run, wanted)]


def _has(run: Run, wanted: Mapping[str, str]) -> bool:
    if not set(wanted) <= set(type(run.parameters).model_fields):
        return False
    asked = resolved(run.receipt["parameters"] | wanted)
    return all(getattr(asked, n) == getattr(run.parameters, n) for n in wanted)


def table(listed: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: what it is, what it was given, its best mean accuracy over seeds, and what it took."""
    rows = []
    for run in listed:
        means = run.metrics.groupby("lam")["accuracy"].mean()
        rows.append(
            {
                "run": run.id,
                "method": run.parameters.method,
                "dataset": run.parameters.dataset,
                "profile": run.parameters.profile,
                "changes": said(_beside(changes(run.parameters), "dataset", "profile")),
                "book": is_books(run),
                "accuracy": means.max(),
                "lam": means.idxmax(),
                "minutes": run.receipt["seconds"] / 60,
                "finished": run.receipt["finished"],
            }
        )
    columns = ["run", "method", "dataset", "profile", "changes", "book", "accuracy", "lam", "minutes", "finished"]
    return pd.DataFrame(rows, columns=columns)


def record(run: Run) -> dict[str, Any]:
    """All that is known of a run, for other programs; metrics are means over seeds, by lambda."""
    metrics = run.metrics.drop(columns=["method", "seed"]).groupby("lam").mean()
    return run.receipt | {
        "book": is_books(run),
        "current": run.current,
        "changes": changes(run.parameters),
        "command": command(run.parameters),
        "metrics": {f"{float(lam):g}": row for lam, row in json.loads(metrics.to_json(orient="index")).items()},
    }


def flat(listed: Sequence[Run]) -> pd.DataFrame:
    """A row for each run and lambda: every parameter, and the mean over seeds of every metric."""
    parts = []
    for run in listed:
        values = {n: json.dumps(v) if isinstance(v, list) else v for n, v in run.receipt["parameters"].items()}
        means = run.metrics.drop(columns=["method", "seed"]).groupby("lam", as_index=False).mean()
        told = {"run": run.id, **values, "finished": run.receipt["finished"], "seconds": run.receipt["seconds"]}
        parts.append(means.assign(**told)[[*told, *means.columns]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run"])


class Difference(NamedTuple):
    """Where two runs differ; each table has a column for each run."""

    parameters: pd.DataFrame
    environment: pd.DataFrame
    results: pd.DataFrame  # by metric and lambda: mean ± standard deviation over seeds, and the means' difference


def diff(one: Run, other: Run) -> Difference:
    """What differs between two runs."""
    given = [run.receipt["parameters"] for run in (one, other)]
    return Difference(
        _unequal(given, one, other), _unequal([environment(run) for run in (one, other)], one, other),
        _results(one, other),
    )  # fmt: skip


def _unequal(values: Sequence[Mapping[str, Any]], one: Run, other: Run) -> pd.DataFrame:
    listed = {n: [str(v.get(n, "–")) for v in values] for n in dict.fromkeys([*values[0], *values[1]])}
    rows = {n: pair for n, pair in listed.items() if pair[0] != pair[1]}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[one.id, other.id])


def environment(run: Run) -> dict[str, Any]:
    """Where and by what code a run was made."""
    receipt = run.receipt
    told = {"code": receipt.get("code"), "git commit": receipt["git"]["commit"], "git dirty": receipt["git"]["dirty"]}
    return told | receipt["versions"] | {n: receipt[n] for n in ("processor", "cores", "seconds", "finished")}


def _results(one: Run, other: Run) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for run in (one, other):
        rows = run.metrics.drop(columns=["method"]).melt(["lam", "seed"], var_name="metric")
        spreads = rows.groupby(["metric", "lam"])["value"].agg(["mean", "std"])
        parts.append(spreads.add_suffix(f" {len(parts)}"))
    both = parts[0].join(parts[1], how="outer")
    unequal = both[(both["mean 0"] != both["mean 1"]) | (both["std 0"].fillna(0) != both["std 1"].fillna(0))]
    shown = {run.id: [_spread(m, s) for m, s in zip(unequal[f"mean {k}"], unequal[f"std {k}"], strict=True)]
             for k, run in enumerate((one, other))}  # fmt: skip
    change = [f"{d:+.5g}" if np.isfinite(d) else "–" for d in unequal["mean 1"] - unequal["mean 0"]]
    return pd.DataFrame(shown | {"difference": change}, index=unequal.index)


def _spread(mean: float, sd: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:,.6g}" + (f" ± {sd:.2g}" if sd > 0 else "")


class Estimate(NamedTuple):
    """What a run will take."""

    seconds: float
    cores: int
    receipts: int  # that it follows from


def estimate(p: Parameters, digits: Digits, on_record: Sequence[Run] | None = None) -> Estimate | None:
    """Seconds that a run will take, from the receipts of its kind, the more the nearer in size; None without any.

    Receipts of this processor come first; others stand in where there are none.
    Args: on_record, all runs, where somebody has read them already.
    """
    models = len(p.seeds) * (1 if isinstance(p, Hypernetwork) else len(p.lambdas))
    model = Model(None if isinstance(p, Hypernetwork) else p.lambdas[0], p.seeds[0])
    trained = training.start(experiment.method_of(p), [model], digits, p)
    each = training.updates(sum(t[0].numel() for t in trained.values()), len(digits.train_labels), p)
    size = models * each * _per_update(p)
    on_record = every()[0] if on_record is None else on_record
    past = [run for run in on_record if _kind(run.parameters) == _kind(p)]
    past = [run for run in past if run.receipt["processor"] == runs.processor(p.device)] or past
    if not past:
        return None
    sizes = np.array([_updates(run) * _per_update(run.parameters) for run in past])
    # a receipt's seconds have one decimal
    rates = np.array([max(run.receipt["seconds"], 0.1) * run.receipt["cores"] for run in past]) / sizes
    # a short run's start-up is in a short run's receipt, so the near ones count most
    rate = float(np.average(rates, weights=(0.1 + abs(np.log(sizes / size))) ** -2))
    cores = experiment.cores_for(p, digits, models)
    return Estimate(size * rate / cores, cores, len(past))


def duration(seconds: float) -> str:
    """About how long."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def foretold(p: Parameters, digits: Digits, found: Run | None) -> str:
    """What a run would be: its name, whether it is on record, what it takes, and its parameters."""
    lines = [f"run         {runs.path(p, digits).name}"]
    if found:
        lines += [f"on record   since {found.receipt['finished']}: it would be found, and not repeated"]
    else:
        lines += [f"on record   {'would be repeated' if p.force else 'no'}", f"would take  {_price(p, digits)}"]
    changed, usual = changes(p), defaults(p.chapter)
    for parameter, value in p.model_dump(mode="json", exclude={"chapter", "force"}).items():
        note = f"   (the chapter has {json.dumps(usual[parameter])})" if parameter in changed else ""
        lines.append(f"  {parameter:<14}{json.dumps(value)}{note}")
    return "\n".join(lines)


def _price(p: Parameters, digits: Digits) -> str:
    expected = estimate(p, digits)
    if expected is None:
        return "unknown: no run of this kind is on record yet"
    cores, past = count(expected.cores, "core"), count(expected.receipts, "past run")
    return f"about {duration(expected.seconds)} on {cores}, estimated from {past}"


def _kind(p: Parameters) -> tuple[str, str]:
    """Runs whose seconds compare; fine-tuning is direct training."""
    return (p.method if isinstance(p, Hypernetwork) else "direct"), p.device


def _per_update(p: Parameters) -> float:
    """Relative time of one update: an optimizer's pass over a weight takes about as long as 100 digits do."""
    return 1 + p.batch_size * (p.samples if isinstance(p, Hypernetwork) else 1) / 100


def _updates(run: Run) -> float:
    """Updates that a run itself made: those of the run that a fine-tuning starts from are that run's."""
    if isinstance(run.parameters, Hypernetwork):
        return float(run.metrics.groupby("seed")["updates_shared"].max().sum())
    return float(run.metrics["updates"].sum())


def remove(given: str, force: bool = False) -> str:
    """Take a run off the record for good.

    Returns: its name. Raises: RunError if something stands on it, unless forced.
    """
    run = name(given)
    reasons = [] if force else _standing_on(run)
    if reasons:
        raise RunError(f"{run} is needed: {'; '.join(reasons)}. `ccbook rm --force {run}` removes it all the same")
    doomed = (runs.home() / run).rename(runs.home() / f".partial-removed-{run}")  # off the record in one step
    shutil.rmtree(doomed)
    return run


def execute(run: Run, notebook: Path) -> None:
    """Write the run's chapter, executed with its parameters: the run is found, so it takes seconds."""
    import papermill  # half a second that no other command needs

    values = run.parameters.model_dump(mode="json", exclude={"chapter", "force"})
    chapter = ROOT / "chapters" / f"{run.parameters.chapter}.ipynb"
    papermill.execute_notebook(chapter, notebook, values, progress_bar=False)


def copy_receipt(run: Run, file: Path) -> None:
    """Write the run's receipt to another file too, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    shutil.copy(run.folder / "receipt.json", partial)
    partial.replace(file)


def _standing_on(run: str) -> list[str]:
    files = sorted((ROOT / "book" / "results").glob("*.csv"))
    tables = [file.name for file in files if run in file.read_text().replace(",", " ").replace('"', " ").split()]
    reasons = [f"book/results/{file} stands on it" for file in tables]
    whole, _ = every()
    reasons += [f"{other.id} starts from it" for other in whole if other.receipt["parameters"].get("start") == run]
    if not tables:
        reasons += ["it is the paper's own" for other in whole if other.id == run and is_books(other)]
    return reasons
