"""A grid of runs in a file, and Snakemake to make them: here, or on a cluster."""

import contextlib
import hashlib
import importlib.util
import itertools
import json
import math
import os
import reprlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from tqdm import tqdm

from ccbook import ROOT, chapters, parameters
from ccbook.machine import download
from ccbook.parameters import FineTuning, Parameters
from ccbook.records import history, store, sweeps
from ccbook.wording import count, did_you_mean, duration

MOST = 10_000  # runs of one file; more is a slip of the finger
LONGEST = 1_000_000  # characters of a file
SHOWN = 10  # faults of a file, the first ones
PATIENCE = 20  # seconds for Snakemake to end its jobs
ALLOWED = "there are methods and datasets, and for parameters set, product and list"


class SweepError(ValueError):
    """A sweep that can't be run; the message says what is wrong where, and what is allowed."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Entry(BaseModel):
    """A grid: each method on each dataset with each combination of `product` and each set of `list`."""

    methods: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    datasets: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)] | None = None
    fixed: dict[str, Any] = Field(default={}, alias="set")
    combined: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default={}, alias="product")
    together: list[dict[str, Any]] = Field(default=[{}], alias="list", min_length=1)

    @property
    def size(self) -> int:
        return math.prod(map(len, [self.methods, self.datasets or [""], *self.combined.values(), self.together]))

    def combinations(self) -> Iterator[tuple]:
        """The method of each run, and its parameters in several parts."""
        datasets = [{"dataset": name} for name in self.datasets or []] or [{}]
        combined = [dict(zip(self.combined, row, strict=True)) for row in itertools.product(*self.combined.values())]
        return itertools.product(self.methods, [self.fixed], datasets, combined, self.together)


class Job(NamedTuple):
    """A run to be made."""

    parameters: Parameters
    needs: str | None  # the job of the run that a fine-tuning starts from


Plan = dict[str, Job]


class _Loader(yaml.BaseLoader):
    """YAML of text alone, to be cast as on the command line: YAML itself takes 010 for 8. No key may come twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [str(key.value) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key comes twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read(file: Path) -> Plan:
    """The runs of a file. Raises: SweepError, naming the file and every fault."""
    try:
        with file.open(encoding="utf-8") as content:
            return plan(content.read(LONGEST + 1))
    except (UnicodeDecodeError, SweepError) as error:
        raise SweepError(f"{file}: {error}") from error


def plan(text: str) -> Plan:
    """The runs of a sweep, each once, by names that follow from their parameters.

    The run that a fine-tuning starts from is added where it is missing. Raises: SweepError, naming every fault.
    """
    jobs: Plan = {}
    entries, faults = _entries(text)
    for k, entry in entries.items():
        for method, *parts in entry.combinations():
            try:
                _add(jobs, _checked(method, parts))
            except ValueError as error:  # no such method, parameter or value
                faults.append(f"entry {k}, {method}: {error}")
    if faults := list(dict.fromkeys(faults)):
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise SweepError("\n  ".join(["no run of it was begun", *faults[:SHOWN], *more]))
    return jobs


def _entries(text: str) -> tuple[dict[int, Entry], list[str]]:
    if len(text) > LONGEST:
        raise SweepError(f"it has more than {LONGEST:,} characters")
    try:
        content = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        raise SweepError(f"this is no YAML: {' '.join(str(error).split())}") from error
    if not content or not isinstance(content, list | dict):
        raise SweepError("there must be an entry with `methods`, or a list of such entries")
    entries, faults = {}, []
    keys = [field.alias or name for name, field in Entry.model_fields.items()]
    for k, raw in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(raw, dict):
            faults.append(f"entry {k} is {reprlib.repr(raw)}, and has no keys: {ALLOWED}")
            continue
        if unknown := [key for key in raw if key not in keys]:
            hints = {key: did_you_mean(key, keys, ALLOWED) for key in unknown}
            faults += [f"entry {k}, unknown key {reprlib.repr(key)}: {hint}" for key, hint in hints.items()]
            continue
        try:
            entries[k] = Entry.model_validate(raw)
        except ValidationError as error:
            faults += [f"entry {k}, {fault}" for fault in parameters.format_errors(error, "key")]
    if (size := sum(entry.size for entry in entries.values())) > MOST:
        raise SweepError(f"these are {size:,} runs; at most {MOST:,} may stand in one file")
    return entries, faults


def _checked(method: str, parts: list[dict[str, Any]]) -> Parameters:
    values = {name: value for part in parts for name, value in part.items()}
    if twice := [name for name in values if sum(name in part for part in parts) > 1]:
        raise SweepError(f"parameter {', '.join(twice)} stands in two of datasets, set, product and list")
    if "force" in values:
        raise SweepError("parameter force has no place in a sweep, which repeats nothing; `ccbook run` takes it")
    chapter = chapters.named(method)
    return parameters.uncut(chapter, chapters.defaults(chapter) | values, values)


def _add(jobs: Plan, p: Parameters) -> str:
    begins = store.needed(p)
    if isinstance(p, FineTuning) and not begins:
        store.start(p)
    needs = _add(jobs, begins) if begins else None
    name = f"{p.chapter}-{_short(p.model_dump_json())}"
    jobs.setdefault(name, Job(p, needs))
    return name


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]  # a file's name may be no UTF-8


def forecast(jobs: Plan) -> str:
    """How long each run would take, and all together."""
    lines, seconds, missing, unknown = [], 0.0, 0, 0
    planned = (p for p, _ in tqdm(jobs.values(), unit="run", desc="sweep", leave=False))
    for p, found, expected in history.outlook(planned):
        seconds += expected.seconds if expected else 0
        missing += not found
        unknown += not found and not expected
        price = "on record" if found else f"about {duration(expected.seconds)}" if expected else "?"
        lines.append(f"{price:<14}{history.command(p)}")
    total = f", to take about {duration(seconds)} one after the other" if seconds else ""
    new = f"; {unknown} of a kind that has no run on record yet" if unknown else ""
    return "\n".join([*lines, f"{count(len(jobs), 'run')}, {missing} to be made{total}{new}"])


def perform(file: Path, jobs: Plan, at_once: int, cores: int | None, executor: str,
            profile: Path | None) -> dict[str, str]:  # fmt: skip
    """Make the runs that aren't on record, through Snakemake.

    Args: at_once, runs at a time; cores for each, by default an equal share of this machine's, or 1 elsewhere;
        executor and profile, Snakemake's.
    Returns: why they failed, by the names of those that did. Raises: SweepError if there is no such executor.
    """
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor != "local" and not (plugin.isidentifier() and importlib.util.find_spec(plugin)):
        raise SweepError(f"no executor {executor!r} is installed: pip install {plugin.replace('_', '-')}")
    folder = store.home().absolute() / ".sweeps" / f"{file.stem}-{_short(str(file.resolve()))}"
    stamps = {name: folder / "done" / f"{name}.json" for name in jobs}
    load = cache(partial(download.load, fetching=False))
    for name, stamp in stamps.items():
        if not _is_made(jobs[name], stamp, load):
            for stale in (stamp, folder / "log" / f"{name}.txt"):
                stale.unlink(missing_ok=True)
    cores = cores or (max(1, (os.cpu_count() or 1) // at_once) if executor == "local" else 1)
    planned = {name: {"arguments": history.command(job.parameters).removeprefix("ccbook "),
                      "needs": [job.needs] if job.needs else []} for name, job in jobs.items()}  # fmt: skip
    content = json.dumps({"cores": cores, "jobs": planned}, indent=2)
    written = folder / f"plan-{_short(content)}.json"  # one each: a sweep may be edited while it runs
    folder.mkdir(parents=True, exist_ok=True)
    written.write_text(content)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "sweep.smk"), "--directory", str(folder)]
    command += ["--config", f"plan={written.name}", f"parent={os.getpid()}", f"patience={PATIENCE}"]
    command += ["--keep-going", "--nolock", "--rerun-incomplete"]
    # where a cluster shares no file system but a volume, a profile's storage provider puts a job's files here
    command += ["--rerun-triggers", "input", "--default-storage-prefix", str(folder)]
    elsewhere = ["--executor", executor, "--jobs", str(at_once)]
    command += ["--cores", str(at_once * cores)] if executor == "local" else elsewhere
    command += ["--profile", str(profile.absolute())] if profile else []
    grid = file.read_text(encoding="utf-8")  # it may be edited while it runs
    try:
        _snakemake(command, folder, list(stamps.values()))
    finally:
        made = {name: run for name, stamp in stamps.items() if (run := _run_of(stamp))}
        missing = [history.command(job.parameters, public=True) for name, job in jobs.items() if name not in made]
        if made:
            sweeps.keep(file, grid, jobs, sorted({*made.values()}), missing)
    failed = [name for name in jobs if not stamps[name].is_file()]
    return {name: _reason(folder, name, jobs[name].needs in failed) for name in failed}


def _is_made(job: Job, stamp: Path, load: Callable) -> bool:
    """Whether the run that would be found on record is the one that the job has made."""
    with contextlib.suppress(OSError, ValueError):
        found = history.sought(job.parameters, startless=True, load=load)[3]
        return found is not None and found.id == _run_of(stamp)
    return False


def _run_of(stamp: Path) -> str | None:
    """The run that a job has made; none where its stamp isn't there, or not whole."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(stamp.read_text())["run"])
    return None


def _snakemake(command: list[str], folder: Path, stamps: list[Path]) -> None:
    ours = {"CCBOOK_RUNS": str(store.home().absolute()), "CCBOOK_DATA": str(download.home().absolute())}
    with (
        (folder / "snakemake.txt").open("w") as log,
        # a session of its own: Ctrl-C reaches this process, which passes it on once and waits
        subprocess.Popen(command, env=os.environ | ours, stdout=log, stderr=log, start_new_session=True) as process,
        tqdm(total=len(stamps), unit="run", desc="sweep") as bar,
    ):
        try:
            running = True
            while running:
                running = process.poll() is None
                bar.update(sum(stamp.is_file() for stamp in stamps) - bar.n)
                time.sleep(0.3 * running)
        except BaseException:
            for signum in (signal.SIGINT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signum)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE)
            raise


def _reason(folder: Path, name: str, startless: bool) -> str:
    """Why a job has no run: the error that it ended with, or why it wasn't begun."""
    if startless:
        return "not begun, because the run that it starts from failed"
    log = folder / "log" / f"{name}.txt"
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    if not lines:
        return f"not begun; {folder / 'snakemake.txt'} says why"
    begin = max((k for k, line in enumerate(lines) if line.startswith("Error: ")), default=len(lines) - 1)
    return " ".join(lines[begin:]).removeprefix("Error: ")
