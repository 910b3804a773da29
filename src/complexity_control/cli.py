"""The command ccbook."""

import sys

import click

from complexity_control import claims, parameters, runs, verdicts
from complexity_control.tables import CLAIM_SIGNS, SIGNS


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The executable paper from the command line: its runs, and what they say of the paper."""


@main.command()
@click.option(
    "--profile", type=click.Choice(list(parameters.PROFILES)), default="paper", show_default=True, help="whose runs"
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="made where")
def check(profile: str, device: str) -> None:
    """Recompute every verdict from the recorded runs, and print the scoreboard.

    Ends with status 1 if a run is missing or isn't what its receipt says. A cell that differs from the paper is a
    finding, not a fault: it is listed, and the status stays 0.
    """
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
