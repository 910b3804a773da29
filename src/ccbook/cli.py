"""The command ccbook; each of its commands imports what it needs when called: completion can't wait for torch."""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ccbook import ROOT, STOPS, chapters, folder_of, runs_folder
from ccbook.chapters import Parameter
from ccbook.wording import count, visible

FULL = "a smaller hidden, batch_size or samples takes less, and so do fewer lambdas or seeds"
REFUSED, FAILED, STOPPED = 2, 1, 130  # exit status: can't be used; couldn't be finished; Ctrl-C or a time limit


def _failure(message: str, status: int) -> click.ClickException:
    error = click.ClickException(visible(message))
    error.exit_code = status  # type: ignore[misc] # click declares it as the class's
    return error


def _end(*_: object) -> None:
    _stopped().show()
    os._exit(STOPPED)


def _stopped() -> click.ClickException:
    return _failure("stopped; what is on record stays, and the same command makes what is missing", STOPPED)


@contextlib.contextmanager
def _reported(then: str = "") -> Iterator[None]:
    """What goes wrong is reported in one message, with what follows `then`; only a fault of ours gives a traceback."""
    stops = [s for s in STOPS if signal.getsignal(s) != signal.SIG_IGN]  # nohup has one ignored
    usual = {s: signal.signal(s, _end) for s in stops}
    try:
        # compiled code that these load may swallow a KeyboardInterrupt; nothing is begun yet that leaves a trace
        from ccbook.machine.idx import DataError
        from ccbook.machine.workers import FAILURES
        from ccbook.parameters import ParameterError
        from ccbook.records.run import RunError
        from ccbook.sweep import SweepError

        for signum in stops:
            signal.signal(signum, signal.default_int_handler)
        yield
    except KeyboardInterrupt:
        raise _stopped() from None
    except BrokenPipeError:
        raise  # whoever read what is printed has ended, as `head` does; click is silent about it
    except (ValueError, ArithmeticError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, ParameterError | DataError | RunError | SweepError):
            raise _failure(str(error), REFUSED) from error
        # torch has no type of its own for a processor's memory that is full
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise _failure(f"the memory of this machine is too small: {FULL}\n{then}".strip(), FAILED) from error
        if isinstance(error, FAILURES):
            raise _failure(f"{str(error) or type(error).__name__}\n{then}".strip(), FAILED) from error
        raise
    finally:
        for signum, handler in usual.items():
            signal.signal(signum, handler)


def _all_parameters() -> dict[str, dict[str, Parameter]]:
    """Each parameter as the chapters that have it say it, by their letters."""
    entries: dict[str, dict[str, Parameter]] = {}
    for letter, chapter in chapters.METHODS.items():
        for parameter in chapters.parameters(chapter.name):
            entries.setdefault(parameter.name, {})[letter] = parameter
    return entries


class RunCommand(click.Command):
    """A command whose help lists the parameters as the chapters say them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Methods"):
            formatter.write_text(", ".join(f"{c.letter} or {c.name}" for c in chapters.METHODS.values()))
        with formatter.section("Parameters"):
            entries = []
            for by_letter in _all_parameters().values():
                (_, first), *others = by_letter.items()
                notes = [f"{letter}: {json.dumps(p.default)}" for letter, p in others if p.default != first.default]
                notes += [f"only {', '.join(by_letter)}"] * (len(by_letter) < len(chapters.METHODS))
                comment = f"{first.comment} ({'; '.join(notes)})" if notes else first.comment
                entries.append((f"{first.name}: {first.type} = {json.dumps(first.default)}", comment))
            formatter.write_dl(entries)


def _complete_method(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in chapters.names() if name.startswith(incomplete)]


def _complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    # click has parsed nothing yet when --set stands before the cursor
    words = os.environ.get("COMP_WORDS", "").split()
    typed = [word for word in words if word in (*chapters.METHODS, *chapters.names())]
    known = [p.name for p in chapters.parameters(chapters.named(typed[0]))] if typed else list(_all_parameters())
    return [f"{name}=" for name in known if name.startswith(incomplete)]


def _complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    with contextlib.suppress(ValueError, OSError):  # a folder that can't be: the command itself says so
        names = [receipt.parent.name for receipt in runs_folder().glob("[!.]*/receipt.json")]
        if context.info_name in ("rm", "archive"):  # which take a sweep's name for its runs
            names += [file.stem for file in runs_folder().glob("sweep-*.json")]
        return sorted(name for name in names if name.startswith(incomplete))
    return []


def _new_file(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value:
        try:
            ours = {folder.resolve() for folder in (runs_folder(), ROOT / "chapters", ROOT / "src")}
            place = value.resolve()
            sweeps = place.match(".sweeps/*/done/*.json")  # where a sweep has its jobs' receipts, among the runs
            if value.is_symlink() or value.exists() or (ours & {*place.parents} and not sweeps):
                raise _failure(f"{value} is there already, or lies among runs or sources; name a new file", REFUSED)
            there = next(folder for folder in value.absolute().parents if folder.exists())
            tempfile.TemporaryFile(dir=there).close()
        except (OSError, RuntimeError) as error:  # a name too long, a loop of links
            raise _failure(f"{str(value)[:200]} can't be written ({error}); name another file", REFUSED) from None
    return value


def _archive(context: click.Context, parameter: click.Parameter, value: Path) -> Path | None:
    if not value.suffix:
        fault = f"{str(value)!r} is no archive's name, such as runs.tar.gz; the names of runs follow it"
        raise _failure(fault, REFUSED)
    return _new_file(context, parameter, value)


def _source(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.startswith(("https://", "http://")) and not os.path.isfile(value):  # noqa: PTH113 - of any text
        raise _failure(
            f"no file {value[:200]!r} is here; an address begins with https:// or http://. Nothing was changed", REFUSED
        )
    return value


def _method(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else chapters.named(value)
    except ValueError as error:
        raise _failure(str(error), REFUSED) from None


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or name in pairs:
            fault = f"{word[:200]!r} is no name=value; `ccbook run --help` lists the parameters"
            raise _failure(f"parameter {name} is given twice" if name in pairs else fault, REFUSED)
        pairs[name] = text
    return pairs


RUN = click.argument("name", metavar="RUN", shell_complete=_complete_run)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would run, what is on record, and how long it takes.")
TO_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """The executable paper from the command line: its runs, and what they say of the paper."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without λ shows ?
    try:
        for variable in ("CCBOOK_RUNS", "CCBOOK_DATA"):
            folder_of(variable, "")
    except ValueError as error:
        raise _failure(str(error), REFUSED) from None


@main.command(cls=RunCommand)
@click.argument("method", callback=_method, shell_complete=_complete_method)
@click.option("--set", "first", multiple=True, metavar="NAME=VALUE ...", shell_complete=_complete_name,
              help="What differs from the chapter, as many as you like.")  # fmt: skip
@click.argument("more", nargs=-1, metavar="", shell_complete=_complete_name)
@click.option("--from", "origin", metavar="RUN", shell_complete=_complete_run,
              help="Take over the parameters that RUN changed, where METHOD has them.")  # fmt: skip
@DRY_RUN
@click.option("--with-start", is_flag=True, help="Make the run that a fine-tuning starts from, if it isn't on record.")
@click.option("--notebook", type=TO_FILE, callback=_new_file, help="Write the executed chapter to a new file as well.")
@click.option("--receipt", type=TO_FILE, callback=_new_file, help="Write a copy of the receipt to a new file as well.")
def run(method: str, first: tuple, more: tuple, origin: str | None, dry_run: bool, with_start: bool,
        notebook: Path | None, receipt: Path | None) -> None:  # fmt: skip
    """Run METHOD with other parameters, or find the run that has them on record.

    For example: ccbook run a --set prior_std=1.0 lambdas=0.1,10
    """
    pairs = _pairs(first + more)
    if notebook and receipt and notebook.resolve() == receipt.resolve():
        raise _failure(f"{notebook} can't be both notebook and receipt; name two files", REFUSED)
    with _reported("Nothing was recorded."):
        from ccbook import perform
        from ccbook.book import formats
        from ccbook.records import history, store

        p = history.derived(method, pairs, origin)
        wanted = [each for each in (with_start and store.needed(p), p) if each]
        if dry_run:
            click.echo("\n\n".join(history.forecast(each, startless=len(wanted) > 1) for each in wanted))
            return
        *_, found = [perform.perform(each.chapter, each.model_dump(exclude={"chapter"})) for each in wanted]
    with _reported(f"The run {found.id} is on record all the same."):
        click.echo(f"{found.id}  {history.describe(history.changes(found.parameters))}".rstrip())
        click.echo(formats.metrics(found).to_string())
        if notebook:
            history.execute(found, notebook)
        if receipt:
            receipt.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found.folder / "receipt.json", receipt)


@main.command()
@RUN
def verify(name: str) -> None:
    """Train a recorded run again and say whether the numbers are the same; the record stays as it is.

    The answer is: the same bytes, or within the seeds' interval, both with exit status 0; or different, with status 1.
    It names both machines where they matter.
    """
    with _reported("The record stays as it was."):
        from ccbook import perform
        from ccbook.records import history, verification

        result = perform.verify(history.find(name))
        click.echo(result.text)
        sys.exit(FAILED * (result.verdict == verification.DIFFERENT))


@main.command("runs")
@click.argument("filters", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=_complete_name)
@click.option("--method", callback=_method, shell_complete=_complete_method, help="Only runs of this method.")
@click.option("--dataset", help="Only runs on this dataset.")
@click.option("--json", "form", flag_value="json", help="With all parameters, the receipt and the metrics.")
@click.option("--csv", "form", flag_value="csv", help="As a table for other programs.")
def list_runs(filters: tuple, method: str | None, dataset: str | None, form: str | None) -> None:
    """List the runs on record, those of these parameters if any are given."""
    wanted = _pairs([*filters, *([] if dataset is None else [f"dataset={dataset}"])])
    with _reported():
        from ccbook.records import history, store

        whole, faults = history.all_runs()
        found = history.matching([run for run in whole if method in (None, run.parameters.chapter)], wanted)
        if form == "json":
            click.echo(json.dumps([history.summary(run) for run in found], indent=2))
        elif form == "csv":
            click.echo(history.flat_table(found).to_csv(index=False, lineterminator="\n"), nl=False)
        elif found:
            table = history.listing(found).round({"minutes": 1})
            table["accuracy"] = table["accuracy"].map("{:.4f} at λ = ".format) + table["lam"].map("{:g}".format)
            table["book"] = table["book"].map({True: "yes", False: ""})
            click.echo(table.drop(columns=["lam", "method"]).to_string(index=False, justify="left"))
        else:
            click.echo(f"no such run is on record in {store.home()}; `ccbook run` makes one")
        for fault in faults:
            click.echo(f"damaged: {visible(fault)}", err=True)


@main.command()
@RUN
@click.option("--json", "form", flag_value="json", help="With all parameters, the receipt and the metrics.")
def show(name: str, form: str | None) -> None:
    """Show a run: parameters, metrics, receipt, and the command that repeats it. RUN may be the beginning of a name."""
    with _reported():
        from ccbook.book import formats
        from ccbook.records import history

        run = history.find(name)
        if form:
            click.echo(json.dumps(history.summary(run), indent=2))
            return
        changed = history.changes(run.parameters)
        lines = [f"{run.id}{'  of the book' if history.is_books(run) else ''}\n"]
        lines += [f"  {parameter:<14}{json.dumps(value)}{'   (changed)' if parameter in changed else ''}"
                  for parameter, value in run.receipt["parameters"].items()]  # fmt: skip
        lines += [f"\n{formats.metrics(run).to_string()}\n"]
        lines += [f"  {fact:<14}{value}" for fact, value in history.environment(run).items()]
        lines += [f"\nby the code as it stands: {'yes' if run.current else 'no'}"]
        lines += [f"the loss had settled: {history.settling(run)}"]
        lines += [f"again: {history.command(run.parameters)}"]
        click.echo("\n".join(lines))


@main.command()
@click.argument("names", nargs=-1, metavar="RUN RUN...", shell_complete=_complete_run)
def diff(names: tuple) -> None:
    """Say where runs differ: parameters, environment, results with their spread over the seeds, and code."""
    with _reported():
        from ccbook.records import history

        compared = {run.id: run for run in map(history.find, names)}
        if len(compared) < 2:
            raise _failure("name two different runs or more; `ccbook runs` lists all", REFUSED)
        for title, difference in history.diff(*compared.values())._asdict().items():
            text = difference if isinstance(difference, str) else "" if difference.empty else difference.to_string()
            click.echo(f"{title}\n{visible(text)}\n" if text else f"{title}: the same\n")


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN...", shell_complete=_complete_run)
@click.option("--force", is_flag=True, help="Even if the paper's tables or another run stand on it.")
def rm(names: tuple, force: bool) -> None:
    """Take runs off the record for good; a sweep's name stands for its runs."""
    with _reported():
        from ccbook.records import history

        for name in history.remove(names, force):
            click.echo(f"removed {name}")


@main.command()
@click.argument("file", type=TO_FILE, callback=_archive)
@click.argument("names", nargs=-1, metavar="[RUN]...", shell_complete=_complete_run)
def archive(file: Path, names: tuple) -> None:
    """Write runs to one file, to be handed on: those named, or all that the book stands on.

    A sweep's name stands for its runs; a sweep goes with them, and with a fine-tuning the run that it starts from.
    """
    with _reported("Nothing was written."):
        from ccbook.records import history, transfer

        found, absent = history.with_starts(names) if names else history.published()
        transfer.write(file, found)
        click.echo(f"wrote {count(len(found), 'run')}")
        for whose, number in absent.items():
            click.echo(f"left out {count(number, 'run')} {whose}, not on record here", err=True)


@main.command()
@click.argument("source", metavar="FILE|URL", callback=_source)
def fetch(source: str) -> None:
    """Verify an archive of runs, all of it, and then put those on record that aren't."""
    with _reported():
        from ccbook.records import transfer

        added, there = transfer.add(source)
        click.echo(f"{count(len(added), 'run')} added, {len(there)} on record before")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-j", "--jobs", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Runs at once.")
@click.option("--cores", type=click.IntRange(1, 10_000),
              help="Cores for each; by default an equal share of this machine's, and 1 elsewhere.")  # fmt: skip
@click.option("--executor", default="local", show_default=True, help="Where: slurm, kubernetes, any of Snakemake's.")
@click.option("--profile", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Snakemake's settings for a cluster: a folder with config.yaml, as in profiles/.")  # fmt: skip
@DRY_RUN
def sweep(file: Path, jobs: int, cores: int | None, executor: str, profile: Path | None, dry_run: bool) -> None:
    """Make the runs of a grid, FILE, that aren't on record yet; stopped, the same command goes on."""
    with _reported():
        from ccbook import sweep as sweeps
        from ccbook.records import history

        planned = sweeps.read(file)
        if dry_run:
            click.echo(sweeps.forecast(planned))
            return
        failed = sweeps.perform(file, planned, jobs, cores, executor, profile)
        click.echo(
            f"{len(planned) - len(failed)} of {len(planned)} runs are on record; `make book` shows them on a page"
        )
        if failed:
            reasons = [f"  {history.command(planned[job].parameters)}\n    {reason}" for job, reason in failed.items()]
            raise _failure("\n".join([f"{len(failed)} of {len(planned)} runs failed:", *reasons]), FAILED)


@main.command()
@click.option("--profile", type=click.Choice(["paper", "quick"]), default="paper", show_default=True, help="whose runs")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="made where")
def check(profile: str, device: str) -> None:
    """Recompute every verdict from the recorded runs, and print the scoreboard.

    Ends with status 1 if a run is missing or isn't what its receipt says. A cell that differs from the paper is a
    finding, not a fault: it is listed, and the status stays 0.
    """
    with _reported():
        from ccbook.book import results
        from ccbook.machine.idx import DataError
        from ccbook.records import store
        from ccbook.records.run import RunError, read

        try:
            for folder in store.folders():  # every run on record is whole, those of no table too
                read(folder)
            report = results.report(store.of_paper(profile, device))
        except (RunError, DataError) as error:
            raise _failure(f"ccbook check: {error}", FAILED) from None
        click.echo(report)


if __name__ == "__main__":
    main()
