"""All runs on record together: found, filtered, compared, estimated and removed."""

import contextlib
import difflib
import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ccbook import ROOT, chapters
from ccbook.machine import download, workers
from ccbook.machine.idx import fingerprint
from ccbook.parameters import UNCUT, FineTuning, ParameterError, Parameters, differing, resolved, uncut, unknown
from ccbook.records import run as runs
from ccbook.records import store, sweeps
from ccbook.records.provenance import processor
from ccbook.records.run import Run, RunError, read
from ccbook.wording import assignments, count, did_you_mean, duration, mean_sd
from complexity_control import training

START_UP = 5.0  # seconds of a training, at most: processes are started, and the gradient is compiled


def all_runs() -> tuple[list[Run], list[str]]:
    """All runs on record, and what is wrong with those that aren't whole; `ccbook check` reads large files too."""
    whole, faults = [], []
    for folder in store.folders():
        try:
            whole.append(read(folder, "*.csv"))
        except RunError as error:
            faults.append(str(error))
    return whole, faults


def full_name(given: str, others: Iterable[str] = ()) -> str:
    """The run's whole name, from the name or its beginning. Raises: RunError, with the nearest name, of others too."""
    existing = [folder.name for folder in store.folders()]
    matches = [given] if given in existing else [name for name in existing if given and name.startswith(given)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RunError(f"{len(matches)} runs begin with {given!r}: {', '.join(matches[:10])}. Give more of the name")
    hint = did_you_mean(given, [*existing, *others], "`ccbook runs` lists all")
    raise RunError(f"no run {given[:200]!r} is on record: {hint}")


def full_names(given: Sequence[str]) -> list[str]:
    """The runs' whole names, each once; a sweep's name stands for all of its runs on record. Raises: as full_name."""
    swept = {sweep.name: [*filter(store.on_record, sweep.runs)] for sweep in sweeps.with_parts()[0]}
    return list(dict.fromkeys(name for one in given for name in swept.get(one) or [full_name(one, swept)]))


def find(given: str) -> Run:
    """The run of this name or beginning of a name, whole. Raises: RunError."""
    return read(store.home() / full_name(given))


def changes(p: Parameters) -> dict[str, Any]:
    """What a run was given that its chapter doesn't say; empty for the book's own."""
    changed = differing(p)
    if isinstance(p, FineTuning):
        with contextlib.suppress(ValueError):  # the start is no longer on record, or its dataset isn't here
            begin = read(store.home() / p.start, "*.csv")
            usual = store.needed(p.model_copy(update={"start": begin.parameters.chapter}))
            if usual and begin.id == runs.name(usual, begin.receipt["data"]["sha256"]):
                changed.pop("start", None)  # follows from the others, and from the code as it stands
    return changed


def is_books(run: Run) -> bool:
    """Whether the paper's tables stand on this run, or would: nothing is changed, and it is of the present code."""
    return run.current and not changes(run.parameters)


def command(p: Parameters, public: bool = False) -> str:
    """What to type to make the run again."""
    changed = changes(p)
    if public and "dataset" in changed:  # on a page, where a folder of digits lies is nobody's business
        changed["dataset"] = Path(p.dataset).name
    return shlex.join(["ccbook", "run", p.chapter, *assignments(changed)])


def describe(values: Mapping[str, Any]) -> str:
    """Parameters for a reader."""
    return ", ".join(f"{n} = {v}" for n, v in values.items())


def derived(chapter: str, changed: Mapping[str, Any], origin: str | None) -> Parameters:
    """Parameters for a chapter: its own, under those of another run, under those that are changed. Raises: RunError.

    Args: origin, a run's name; taken is what it changed, where this chapter has it.
    """
    values = chapters.defaults(chapter)
    if origin is not None:
        p = find(origin).parameters
        shared = values.keys() - ({"start"} if p.chapter != chapter else set())  # a start follows from the others
        values |= {n: value for n, value in changes(p).items() if n in shared}
    return uncut(chapter, values | dict(changed), changed)


def matching(whole: Sequence[Run], wanted: Mapping[str, str]) -> list[Run]:
    """The runs that have these parameters, each cast as if a run were asked for with it. Raises: ParameterError."""
    known = dict.fromkeys(n for chapter in chapters.names() for n in chapters.defaults(chapter) if n != "force")
    if faults := [unknown(name, known) for name in wanted if name not in known]:
        raise ParameterError("; ".join(faults))
    if "dataset" in wanted:
        wanted = dict(wanted) | {"dataset": download.spelled_out(wanted["dataset"])}

    def cast(chapter: str) -> dict[str, object]:
        given = {"chapter": chapter} | UNCUT
        return {name: getattr(resolved(given | {name: text}), name) for name, text in wanted.items()}

    def has(p: Parameters) -> bool:
        return p.chapter in asked and all(getattr(p, name) == value for name, value in asked[p.chapter].items())

    asked = {chapter: cast(chapter) for chapter in chapters.names() if set(wanted) <= set(chapters.defaults(chapter))}
    return [run for run in whole if has(run.parameters)]


def listing(whole: Sequence[Run]) -> pd.DataFrame:
    """A row for each run: what it is, what it was given, its best mean accuracy over seeds, and what it took."""
    columns = ["run", "method", "dataset", "profile", "changes", "book", "accuracy", "lam", "minutes", "finished"]
    rows = []
    for run in whole:
        p, means = run.parameters, run.metrics.groupby("lam")["accuracy"].mean()
        changed = {name: value for name, value in changes(p).items() if name not in ("dataset", "profile")}
        rows.append((run.id, p.method, p.dataset, p.profile, describe(changed), is_books(run), means.max(),
                     means.idxmax(), run.receipt["seconds"] / 60, run.receipt["finished"]))  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def summary(run: Run) -> dict[str, Any]:
    """All that is known of a run, for other programs; metrics are means over seeds, by lambda."""
    metrics = run.metrics.drop(columns=["method", "seed"]).groupby("lam").mean()
    lambdas = [str(lam).removesuffix(".0") for lam in metrics.index]
    return run.receipt | {
        "book": is_books(run),
        "current": run.current,
        "changes": changes(run.parameters),
        "command": command(run.parameters),
        "metrics": dict(zip(lambdas, json.loads(metrics.to_json(orient="records", double_precision=15)), strict=True)),
    }


def flat_table(whole: Sequence[Run]) -> pd.DataFrame:
    """A row for each run and lambda: every parameter, and the mean over seeds of every metric."""
    parts = []
    for run in whole:
        values = {n: json.dumps(v) if isinstance(v, list) else v for n, v in run.receipt["parameters"].items()}
        means = run.metrics.drop(columns=["method", "seed"]).groupby("lam", as_index=False).mean()
        about = {"run": run.id, **values, "finished": run.receipt["finished"], "seconds": run.receipt["seconds"]}
        parts.append(means.assign(**about)[[*about, *means.columns]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run"])


class Difference(NamedTuple):
    """Where runs differ; a column for each of two runs, a row for each of more."""

    parameters: pd.DataFrame
    environment: pd.DataFrame
    results: pd.DataFrame  # mean ± standard deviation over seeds; of two runs the means' difference, too
    code: str  # unified diffs of the science sources, each from the first run


def diff(first: Run, *others: Run) -> Difference:
    """What differs between two runs or more."""
    compared, tables = (first, *others), []
    for values in ([run.receipt["parameters"] for run in compared], [environment(run) for run in compared]):
        rows = {n: [str(v.get(n, "–")) for v in values] for v in values for n in v}
        different = {n: row for n, row in rows.items() if len(set(row)) > 1}
        table = pd.DataFrame.from_dict(different, orient="index", columns=[run.id for run in compared])
        tables.append(table.T if len(compared) > 2 else table)
    return Difference(tables[0], tables[1], _results(compared), "".join(_code(first, other) for other in others))


def environment(run: Run) -> dict[str, Any]:
    """Where and by what code a run was made."""
    receipt = run.receipt
    about = {"git commit": receipt["git"]["commit"], "git dirty": receipt["git"]["dirty"]}
    return about | receipt["versions"] | {n: receipt[n] for n in ("processor", "cores", "seconds", "finished")}


def _results(compared: Sequence[Run]) -> pd.DataFrame:
    """By metric and lambda or, of more than two runs, by metric and run, a column for each lambda."""
    long = [run.metrics.drop(columns=["method"]).melt(["lam", "seed"], var_name="metric") for run in compared]
    spreads = [rows.groupby(["metric", "lam"])["value"].agg(["mean", "std"]).fillna({"std": 0}) for rows in long]
    every = pd.concat(spreads, axis="columns", keys=range(len(spreads))).sort_index()
    rows = every[every.T.groupby(level=1).nunique(dropna=False).max() > 1]
    columns = {run.id: [mean_sd(mean, sd, sd_form=".2g") for mean, sd in rows[k].itertuples(index=False)]
               for k, run in enumerate(compared)}  # fmt: skip
    shown = pd.DataFrame(columns, rows.index)
    if len(compared) > 2:
        turned = {metric: rows.droplevel("metric").T for metric, rows in shown.groupby("metric")}
        return pd.concat(turned, names=["metric", "run"]).fillna("–") if turned else shown
    change = [f"{d:+.5g}" if np.isfinite(d) else "–" for d in rows[1]["mean"] - rows[0]["mean"]]
    return shown.assign(difference=change)


def _code(one: Run, other: Run) -> str:
    before, after, lines = one.sources, other.sources, []
    if not before or not after:
        return "" if before == after else "only one of the runs kept its sources\n"
    for path in sorted({*before, *after}):
        old, new = (texts.get(path, "").splitlines(True) for texts in (before, after))
        lines += list(difflib.unified_diff(old, new, f"{one.id}/{path}", f"{other.id}/{path}"))
    return "".join(lines)


class Estimate(NamedTuple):
    """How long a run will take."""

    seconds: float
    least: float  # seconds, and
    most: float  # of nine in ten runs like it
    cores: int  # that it is spread over
    past: int  # runs like it on record

    def __str__(self) -> str:
        ends = [duration(self.least), duration(self.most)]
        return f"about {duration(self.seconds)}" + f" ({ends[0]} to {ends[1]})" * (ends[0] != ends[1])


def estimate(p: Parameters, train: int, past: Sequence[tuple[float, float]]) -> Estimate | None:
    """How long a run will take, by the median rate of its like on record, and a start-up; None without any.

    Rather of those from a tenth to ten times its size: what a short run takes says little of a long one.
    Args: train, digits to train on; past, of the runs `like` it.
    """
    size = _size(p, train)
    rated = [(other / size, seconds) for other, seconds in past]
    near = [pair for pair in rated if 0.1 < pair[0] < 10] or rated
    if not near:
        return None
    rates = [seconds / ratio for ratio, seconds in near]
    cores = workers.cores_for(p.models, training.steps(train, p.settings), p.device)
    seconds, least, most = (rate / cores for rate in np.quantile(rates, [0.5, 0.05, 0.95]))
    start_up = min(START_UP, seconds)
    return Estimate(seconds + start_up, least + start_up, most + start_up, cores, len(near))


def like(method: str, device: str, on_record: Sequence[Run]) -> list[tuple[float, float]]:
    """Size of the runs of a method's function on a device, rather on this processor, and seconds on one core.

    Without the start-up: of a run of some seconds it may be half, of a longer one no more than a few.
    """
    function = chapters.METHODS[method].function
    found = [run for run in on_record if chapters.METHODS[run.parameters.method].function == function]
    found = [run for run in found if run.parameters.device == device]
    found = [run for run in found if run.receipt["processor"] == processor(device)] or found
    pairs = []
    for run in found:
        seconds, cores = run.receipt["seconds"], run.receipt["cores"]
        trained = max(seconds - START_UP, seconds / 2, 0.1)
        pairs.append((_size(run.parameters, run.receipt["data"]["train"]), trained * cores))
    return pairs


def _size(p: Parameters, train: int) -> float:
    """Relative time of a training: an optimizer's pass over the weights takes about as long as 100 digits do."""
    return p.models * training.steps(train, p.settings) * (100 + p.batch_size * p.settings.samples) * sum(p.hidden)


def sought(p: Parameters, startless: bool, load: Callable) -> tuple[Parameters, str | None, int, Run | None]:
    """What would be run, its name if it can be known, digits to train on, and the run if it is on record."""
    train = p.cap.train or download.TRAIN.get(p.dataset, 0)  # a folder is there, and is counted
    try:
        digits = load(p.dataset, p.device, p.cap.train, p.cap.test)
        train = len(digits.train_labels)
        if isinstance(p, FineTuning):
            p = p.model_copy(update={"start": store.start(p, digits).id})
    except (FileNotFoundError, RunError) as error:  # digits are to be fetched, or a start isn't on record
        if startless or isinstance(error, FileNotFoundError):
            return p, None, train, None
        raise
    return p, runs.name(p, fingerprint(digits)), train, store.find(p, digits)


def outlook(planned: Iterable[Parameters]) -> Iterator[tuple[Parameters, Run | None, Estimate | None]]:
    """For each of many: what would be run, the run if it is on record, and else how long it takes if that is known.

    The record and the digits are read once.
    """
    past, load = cache(partial(like, on_record=all_runs()[0])), cache(partial(download.load, fetching=False))
    for p in planned:
        p, _, train, found = sought(p, startless=True, load=load)
        yield p, found, None if found else estimate(p, train, past(p.method, p.device))


def forecast(p: Parameters, startless: bool = False) -> str:
    """What a run would be: its name, whether it is on record, how long it takes, and its parameters."""
    p, name, train, found = sought(p, startless, partial(download.load, fetching=False))
    lines = [f"run         {name or 'has its name once its digits are fetched and its start is on record'}"]
    if found and not p.force:
        lines += [f"on record   since {found.receipt['finished']}: it would be found, and not repeated"]
    else:
        lines += [f"on record   {'yes: it would be trained again, and compared' if found else 'no'}"]
        price = "unknown: no run of this kind is on record yet"
        if expected := estimate(p, train, like(p.method, p.device, all_runs()[0])):
            price = f"{expected} on {count(expected.cores, 'core')}, estimated from {count(expected.past, 'past run')}"
        lines += [f"would take  {price}"]
    changed, usual = changes(p), chapters.defaults(p.chapter)
    for name, value in p.model_dump(mode="json", exclude={"chapter", "force"}).items():
        note = f"   (the chapter has {json.dumps(usual[name])})" if name in changed else ""
        lines.append(f"  {name:<14}{json.dumps(value)}{note}")
    return "\n".join(lines)


def settling(run: Run) -> str:
    """Whether the mean loss over the seeds changed in the last fifth of the epochs by no more than its deviation."""
    p = run.parameters
    if min(p.epochs, len(p.seeds)) < 2:
        return "unknown: that takes two seeds and two epochs"
    fifth, words = max(1, p.epochs // 5), []
    for lam, rows in run.history.groupby("lam", dropna=False):
        ends = rows.pivot_table("loss", "seed", "epoch")[[p.epochs - fifth, p.epochs]]
        change, spread = np.diff(ends.mean())[0], ends[p.epochs].std()
        at = "" if np.isnan(lam) else f" at λ = {lam:g}"
        words.append(f"{'yes' if abs(change) <= spread else 'no'}{at} ({change:+.2g}, seeds ± {spread:.2g})")
    return f"{', '.join(words)}; nats a digit, over the last {count(fifth, 'epoch')}"


def behind_results() -> dict[str, set[str]]:
    """The names of the runs that the book's results stand on, by the names of their files."""
    name, files = rf"\b(?:{'|'.join(chapters.names())})-[0-9a-f]{{12}}\b", sorted((ROOT / "book/results").glob("*.csv"))
    return {file.name: set(re.findall(name, file.read_text())) for file in files}


def with_starts(given: Sequence[str]) -> tuple[list[Run], dict[str, int]]:
    """Runs by their names, as full_names has them, and those that fine-tunings among them start from.

    Returns: also how many of these aren't on record, by a phrase that says whose. Raises: RunError.
    """
    found = {name: find(name) for name in full_names(given)}
    starts = {run.id: run.parameters.start for run in found.values() if isinstance(run.parameters, FineTuning)}
    absent = {f"that {run} starts from": 1 for run, start in starts.items() if not store.on_record(start)}
    added = {start for start in starts.values() if store.on_record(start)} - found.keys()
    return [*found.values(), *map(find, sorted(added))], absent


def published() -> tuple[list[Run], dict[str, int]]:
    """The book's own runs and those that its results stand on; and how many of these aren't on record, as with_starts.

    Raises: RunError if one isn't whole.
    """
    behind = behind_results()
    there = {name for names in behind.values() for name in names if store.on_record(name)}
    absent = {f"of book/results/{file}": len(names - there) for file, names in behind.items() if names - there}
    named = there.union(run.id for run in store.of_book("paper").values())
    return [find(name) for name in sorted(named)], absent


def remove(given: Sequence[str], force: bool = False) -> list[str]:
    """Take runs off the record, and sweeps with their last runs. Returns: the names of the runs.

    Raises: RunError if one isn't there or something else stands on it, unless forced; then none is removed.
    """
    removed = full_names(given)
    whole, behind = ([], {}) if force else (all_runs()[0], behind_results())
    for run in removed:
        reasons = [f"book/results/{file} stands on it" for file, names in behind.items() if run in names]
        reasons = reasons or ["it is the paper's own" for other in whole if other.id == run and is_books(other)]
        reasons += [f"{other.id} starts from it" for other in whole
                    if other.receipt["parameters"].get("start") == run and other.id not in removed]  # fmt: skip
        if reasons:
            raise RunError(f"{run} is needed: {'; '.join(reasons)}. `ccbook rm --force {run}` removes it all the same")
    for run in removed:
        with store.temporary_folder() as aside, contextlib.suppress(FileNotFoundError):  # another rm was first
            (store.home() / run).rename(Path(aside) / run)  # off the record in one step
    sweeps.remove_empty()
    return removed


def execute(run: Run, notebook: Path) -> None:
    """Write the run's chapter, executed with its parameters: the run is found, so it takes seconds."""
    import papermill  # half a second that no other command needs

    p = run.parameters
    values = p.model_dump(mode="json", exclude={"chapter", "force"})
    notebook.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=notebook.parent) as temporary:
        whole = Path(temporary) / "whole.ipynb"
        papermill.execute_notebook(ROOT / "chapters" / f"{p.chapter}.ipynb", whole, values, progress_bar=False)
        whole.replace(notebook)
