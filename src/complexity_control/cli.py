"""The command ccbook.

A command imports what it needs when it is called: the shell's completion and --help can't wait for torch.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from multiprocessing import resource_tracker
from pathlib import Path

import click

from complexity_control import chapters
from complexity_control.chapters import Parameter


class Refused(click.ClickException):
    """What was given can't be used."""

    exit_code = 2


class Failed(click.ClickException):
    """What was begun couldn't be finished."""

    exit_code = 1


class Stopped(click.ClickException):
    """Ctrl-C, or a cluster's time limit."""

    exit_code = 130


@contextlib.contextmanager
def _told(then: str = "") -> Iterator[None]:
    """What goes wrong is told in one message with an exit status; only a fault of ours gives a traceback.

    Args: then, what follows where something that was begun has failed.
    """
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a cluster stops a job
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped("stopped; what is on record stays, and the same command goes on from there") from None
    except Exception as error:
        raise _explained(error, then) from error
    finally:
        signal.signal(signal.SIGTERM, usual)


@contextlib.contextmanager
def _interrupted_alone() -> Iterator[None]:
    """Ctrl-C reaches this process, and not the workers that it starts: it ends them, and they have nothing to say."""
    resource_tracker.ensure_running()  # started later, by the first worker, it would lift the block
    # a thread from before the block takes the signal; Python answers it in the main thread all the same
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _explained(error: Exception, then: str) -> Exception:
    from torch import OutOfMemoryError

    from complexity_control.data import DataError
    from complexity_control.parameters import ParameterError
    from complexity_control.runs import RunError
    from complexity_control.sweep import SweepError
    from complexity_control.training import DivergedError

    if isinstance(error, ParameterError | DataError | RunError | SweepError):
        return Refused(str(error))
    if isinstance(error, DivergedError | OSError | MemoryError | OutOfMemoryError | BrokenExecutor):
        return Failed(f"{error or type(error).__name__}\n{then}".strip())
    return error


def _every_parameter() -> dict[str, list[tuple[str, Parameter]]]:
    """Each parameter as the chapters that have it say it, with their letters."""
    listed: dict[str, list[tuple[str, Parameter]]] = {}
    for chapter in chapters.names():
        for parameter in chapters.parameters(chapter):
            listed.setdefault(parameter.name, []).append((chapter[0], parameter))
    return listed


class RunCommand(click.Command):
    """A command whose help lists the parameters as the chapters say them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Methods"):
            formatter.write_text(", ".join(f"{letter} or {chapter}" for letter, chapter in chapters.letters().items()))
        with formatter.section("Parameters"):
            formatter.write_dl([_entry(said) for said in _every_parameter().values()])


def _entry(said: list[tuple[str, Parameter]]) -> tuple[str, str]:
    """A parameter with type, default and comment, and what is different in some of the methods."""
    parameter = said[0][1]
    notes = [f"{letter}: {json.dumps(p.default)}" for letter, p in said if p.default != parameter.default]
    if len(said) < len(chapters.letters()):
        notes.append(f"only {', '.join(letter for letter, _ in said)}")
    comment = f"{parameter.comment} ({'; '.join(notes)})" if notes else parameter.comment
    return f"{parameter.name}: {parameter.type} = {json.dumps(parameter.default)}", comment


def _complete_method(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in chapters.names() if name.startswith(incomplete)]


def _complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    # click has parsed nothing yet when --set stands before the cursor
    typed = [chapters.letters().get(word, word) for word in os.environ.get("COMP_WORDS", "").split()]
    typed = [word for word in typed if word in chapters.names()]
    listed = [p.name for p in chapters.parameters(typed[0])] if typed else list(_every_parameter())
    return [f"{name}=" for name in listed if name.startswith(incomplete)]


def _complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    home = Path(os.environ.get("CCBOOK_RUNS", chapters.ROOT / "book" / "runs"))  # runs.home() without torch
    return sorted(r.parent.name for r in home.glob("[!.]*/receipt.json") if r.parent.name.startswith(incomplete))


def _method(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return value and chapters.named(value)
    except ValueError as error:
        raise Refused(str(error)) from None


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise Refused(f"{word!r} is no name=value; `ccbook run --help` lists the parameters")
        if name in pairs:
            raise Refused(f"parameter {name} is given twice")
        pairs[name] = text
    return pairs


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """The executable paper from the command line: its runs, and what they say of the paper."""


@main.command(cls=RunCommand)
@click.argument("method", callback=_method, shell_complete=_complete_method)
@click.option("--set", "first", multiple=True, metavar="NAME=VALUE ...", shell_complete=_complete_name,
              help="What differs from the chapter, as many as you like.")  # fmt: skip
@click.argument("more", nargs=-1, metavar="", shell_complete=_complete_name)
@click.option("--from", "origin", metavar="RUN", shell_complete=_complete_run,
              help="Start from a run's parameters; of another method's run, from those it changed.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be run, whether it is on record, and how long it takes.")
@click.option("--notebook", type=click.Path(dir_okay=False), help="Write the executed chapter to this file as well.")
@click.option("--receipt", type=click.Path(dir_okay=False), help="Write a copy of the receipt to this file as well.")
def run(
    method: str,
    first: tuple[str, ...],
    more: tuple[str, ...],
    origin: str | None,
    dry_run: bool,
    notebook: str | None,
    receipt: str | None,
) -> None:
    """Run METHOD with other parameters, or find the run that has them on record.

    For example: ccbook run a --set prior_std=1.0 lambdas=0.1,10
    """
    pairs = _pairs(first + more)
    with _told("Nothing was recorded."):
        from complexity_control import experiment, registry, runs, tables

        given = registry.given(method, pairs, origin)
        p, digits, _ = runs.resolve(method, given)
        found = None if p.force else runs.find(runs.path(p, digits))
        if dry_run:
            click.echo(registry.foretold(p, digits, found))
            return
        if not found:
            with _interrupted_alone():
                found = experiment.perform(method, given)
    with _told(f"The run {found.id} is on record all the same."):
        click.echo(f"{found.id}  {registry.said(registry.changes(found.parameters))}".rstrip())
        click.echo(tables.table(found).to_string())
        if notebook:
            registry.execute(found, Path(notebook))
        if receipt:
            registry.copy_receipt(found, Path(receipt))


@main.command("runs")
@click.argument("filters", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=_complete_name)
@click.option("--method", callback=_method, shell_complete=_complete_method,
              help="Only runs of this method.")  # fmt: skip
@click.option("--dataset", help="Only runs on this dataset.")
@click.option("--json", "form", flag_value="json", help="With all parameters, the receipt and the metrics.")
@click.option("--csv", "form", flag_value="csv", help="As a table for other programs.")
def list_runs(filters: tuple[str, ...], method: str | None, dataset: str | None, form: str | None) -> None:
    """List the runs on record, those of these parameters if any are given."""
    wanted = _pairs(filters) | ({"dataset": dataset} if dataset else {})
    with _told():
        from complexity_control import registry

        whole, damaged = registry.every()
        listed = registry.matching([run for run in whole if method in (None, run.parameters.chapter)], wanted)
        table = registry.table(listed)
        if form == "json":
            click.echo(json.dumps([registry.record(run) for run in listed], indent=2))
        elif form == "csv":
            click.echo(registry.flat(listed).to_csv(index=False, lineterminator="\n"), nl=False)
        elif listed:
            shown = table.assign(
                accuracy=[f"{a:.4f} at λ = {lam:g}" for a, lam in zip(table["accuracy"], table["lam"], strict=True)],
                book=table["book"].map({True: "paper", False: ""}),
                minutes=table["minutes"].round(1),
            )
            click.echo(shown.drop(columns=["lam", "method"]).to_string(index=False, justify="left"))
        else:
            click.echo("no such run is on record; `ccbook run` makes one")
        for run in damaged:
            click.echo(f"damaged: {run.fault}", err=True)


@main.command()
@click.argument("name", metavar="RUN", shell_complete=_complete_run)
@click.option("--json", "form", flag_value="json", help="With all parameters, the receipt and the metrics.")
def show(name: str, form: str | None) -> None:
    """Show a run: parameters, metrics, receipt, and the command that repeats it.

    RUN is a run's name, or its beginning as far as no other begins like it.
    """
    with _told():
        from complexity_control import registry, tables

        run = registry.find(name)
        if form:
            click.echo(json.dumps(registry.record(run), indent=2))
            return
        changed, receipt = registry.changes(run.parameters), run.receipt
        click.echo(f"{run.id}{'  of the paper' if registry.is_books(run) else ''}\n")
        for parameter, value in receipt["parameters"].items():
            click.echo(f"  {parameter:<14}{json.dumps(value)}{'   (changed)' if parameter in changed else ''}")
        click.echo(f"\n{tables.table(run).to_string()}\n")
        for said, value in registry.environment(run).items():
            click.echo(f"  {said:<14}{value}")
        click.echo(f"\nby the code as it stands: {'yes' if run.current else 'no'}")
        click.echo(f"again: {registry.command(run.parameters)}")


@main.command()
@click.argument("names", nargs=2, metavar="RUN RUN", shell_complete=_complete_run)
def diff(names: tuple[str, str]) -> None:
    """Say where two runs differ: parameters, environment, and results with their spread over the seeds."""
    with _told():
        from complexity_control import registry

        for title, table in registry.diff(*map(registry.find, names))._asdict().items():
            click.echo(f"{title}: the same" if table.empty else f"{title}\n{table.to_string()}")
            click.echo()


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN...", shell_complete=_complete_run)
@click.option("--force", is_flag=True, help="Even if the paper's tables or another run stand on it.")
def rm(names: tuple[str, ...], force: bool) -> None:
    """Take runs off the record for good."""
    with _told():
        from complexity_control import registry

        for name in names:
            click.echo(f"removed {registry.remove(name, force)}")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many runs at once."
)
@click.option(
    "--cores", type=click.IntRange(1, 10_000), help="Cores for each; by default an equal share of this machine's."
)
@click.option("--executor", default="local", show_default=True, help="Where: slurm, kubernetes, any of Snakemake's.")
@click.option("--profile", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Snakemake's settings for a cluster: a folder with config.yaml, as in profiles/.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be run, what is on record, and how long the rest takes.")
def sweep(file: Path, jobs: int, cores: int | None, executor: str, profile: Path | None, dry_run: bool) -> None:
    """Make the runs of a grid, FILE, that aren't on record yet; stopped, the same command goes on."""
    with _told():
        from complexity_control import sweep as sweeps

        planned = sweeps.read(file)
        if dry_run:
            click.echo(sweeps.foretold(planned))
            return
        failed = sweeps.perform(file, planned, jobs, cores, executor, profile)
        click.echo(f"{len(planned) - len(failed)} of {len(planned)} runs are on record")
        if failed:
            reasons = [f"  {planned[job].command}\n    {reason}" for job, reason in failed.items()]
            raise Failed("\n".join([f"{len(failed)} of {len(planned)} runs failed:", *reasons]))


@main.command()
@click.option("--profile", type=click.Choice(["paper", "quick"]), default="paper", show_default=True, help="whose runs")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="made where")
def check(profile: str, device: str) -> None:
    """Recompute every verdict from the recorded runs, and print the scoreboard.

    Ends with status 1 if a run is missing or isn't what its receipt says. A cell that differs from the paper is a
    finding, not a fault: it is listed, and the status stays 0.
    """
    from complexity_control import claims, runs, verdicts
    from complexity_control.tables import CLAIM_SIGNS, SIGNS

    try:
        list(runs.recorded())  # every run on record is whole, those of no table too
        on_record = runs.of_profile(profile, device)
        cells, judged = verdicts.cells(on_record), claims.judge(on_record)
    except ValueError as error:
        sys.exit(f"ccbook check: {error}")
    counts = cells.groupby(["table", "quantity"])["verdict"].value_counts().unstack(fill_value=0)
    click.echo(counts.reindex(columns=list(SIGNS), fill_value=0).to_string())
    for cell in cells[cells["verdict"].isin(["close", "differs"])].to_dict("records"):
        lam = "" if cell["lam"] != cell["lam"] else f" at lambda {cell['lam']:g}"
        click.echo(
            f"{SIGNS[cell['verdict']]} Table {cell['table']}, {cell['quantity']} of ({cell['method']}){lam}: "
            f"ours {cell['mean']:,.6g}, paper {cell['paper']:,.6g}, {cell['verdict']} ({cell['run']})"
        )
    said = judged["verdict"].value_counts().reindex(list(CLAIM_SIGNS), fill_value=0)
    click.echo("\nclaims: " + ", ".join(f"{number} {word}" for word, number in said.items()))
    for claim in judged[judged["verdict"].isin(["holds in part", "does not hold"])].to_dict("records"):
        click.echo(f"{CLAIM_SIGNS[claim['verdict']]} {claim['claim']}: {claim['value']}")


if __name__ == "__main__":
    main()
