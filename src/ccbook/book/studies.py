"""The studies around (g), each against tuned direct training on the same digits and network; `make studies` makes them.

Is it the form of (g) or its training? How well is direct training tuned? And does it go beyond these digits?
"""

from typing import Any, NamedTuple

import click
import pandas as pd
from IPython.display import Markdown

from ccbook import perform
from ccbook.book import artefacts
from ccbook.book.formats import folder, signed, write_csv
from ccbook.book.one_network import GRID, REFERENCE, TUNED_ROWS, asked, of_each
from ccbook.book.plots import TUNED
from ccbook.chapters import METHODS, defaults
from ccbook.compare.printed import LAMBDAS
from ccbook.machine import download
from ccbook.records.run import Run

SEEDS = [0, 1]
SHORT = list(LAMBDAS)  # of the studies of rates, of another network and of other digits
SHOWN = [*LAMBDAS, "worst"]
# of (g)'s parameters, those that say how it is trained
TRAINING = ("epochs", "batch_size", "learning_rate", "schedule", "samples", "lam_range", "stratified", "lam_power")
SMALL = {"dataset": "OpticalDigits"}
LONGER = 40  # times as many epochs: it has so many times fewer digits, and the steps stay about as many


class Variant(NamedTuple):
    """One training of a study."""

    study: str
    letter: str
    name: str
    changes: dict[str, Any]


def variants() -> list[Variant]:
    """All of them; the first of each study is the tuned direct training that the others are measured by."""
    training = {name: defaults("g_tempered")[name] for name in TRAINING}
    book = {"seeds": defaults("g_tempered")["seeds"]}  # runs that are on record
    tuned = Variant("form", "a", TUNED, REFERENCE | book)
    found = [tuned, Variant("form", "g", "(g) as it is", book)]
    without: dict[str, dict[str, Any]] = {
               "polynomials of inputs and outputs": {"degree": 0}, "m's polynomials": {"mean_degree": 0},
               "stratified λ": {"stratified": False}, "weights of λ": {"lam_power": 0.0},
               "a falling rate": {"schedule": "constant"}}  # fmt: skip
    found += [Variant("form", "g", f"(g) without {part}", changes) for part, changes in without.items()]
    smaller = {"polynomials of degree 2": {"degree": 2}, "a quadratic for each m": {"mean_degree": 2},
               "minibatches of 128, as many updates": {"batch_size": 128, "epochs": 16}}  # fmt: skip
    found += [Variant("form", "g", f"(g) with {part}", changes) for part, changes in smaller.items()]
    found += [Variant("form", letter, f"({letter}) with (g)'s training, fed log λ", training | {"feed": "log"})
              for letter in "ce"]  # fmt: skip
    found += [tuned._replace(study="rate")]
    found += [Variant("rate", "a", f"direct, {rate:g}", REFERENCE | {"lambdas": SHORT, "learning_rate": rate})
              for rate in (0.001, 0.002, 0.008)]  # fmt: skip
    for study, base, longer in (("deep", {"hidden": [100, 100]}, 1), ("small", SMALL, LONGER)):
        for letter, name, changes in [("a", TUNED, REFERENCE), *((x, f"({x}) as it is", {}) for x in "aceg")]:
            epochs = {"epochs": longer * defaults(METHODS[letter].name)["epochs"]}
            found.append(Variant(study, letter, name, changes | base | epochs | {"lambdas": SHORT}))
    return found


def measured(variant: Variant, run: Run) -> pd.DataFrame:
    """A row for each lambda: study, method, name, lam, evidence and accuracy (means over the seeds), sd, seeds, run."""
    lambdas = SHORT if "hidden" in variant.changes or "dataset" in variant.changes else GRID
    rows = of_each(variant.letter, run) if variant.letter == "a" else asked(variant.letter, run, lambdas)
    groups = rows[rows["lam"].isin(lambdas)].groupby("lam")
    table = groups[["evidence", "accuracy"]].mean().assign(sd=groups["evidence"].std(), seeds=groups.size(), run=run.id)
    return table.reset_index().assign(study=variant.study, method=variant.letter, name=variant.name)


def compared(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows, with `relative`: the evidence over that of the study's tuned direct training, minus 1."""
    rows = pd.concat(tables, ignore_index=True)
    tuned = rows.query("name == @TUNED").set_index(["study", "lam"])["evidence"].rename("tuned")
    rows = rows.join(tuned, on=["study", "lam"])
    rows["relative"] = rows["evidence"] / rows["tuned"] - 1
    return rows[["study", "method", "name", "lam", "evidence", "sd", "relative", "accuracy", "seeds", "run"]]


def recorded() -> pd.DataFrame:
    """What `make studies` has recorded, whatever the profile. Raises: FileNotFoundError, with that command."""
    try:
        return pd.read_csv(folder("paper") / "studies.csv")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename} isn't there: `make studies` trains and records it") from None


def _of(rows: pd.DataFrame, study: str) -> pd.DataFrame:
    return rows[(rows["study"] == study) & (rows["name"] != TUNED)]


def table(rows: pd.DataFrame, study: str, caption: str) -> artefacts.Artefact:
    """A study's relative evidence: a row for each variant, columns for the paper's lambdas and the worst of all."""
    own = _of(rows, study)
    cells = own.pivot(index="name", columns="lam", values="relative").reindex(own["name"].unique())
    cells["worst"] = cells.max(axis="columns")
    shown = cells[SHOWN].rename(columns=lambda lam: lam if lam == "worst" else f"λ = {lam:g}")
    styled = shown.rename_axis(None).rename_axis(columns=None).style.format(signed("{:+.1%}"), na_rep="–")
    return artefacts.table(f"one_network-{study}", styled, caption, own)


def parts(rows: pd.DataFrame) -> Markdown:
    """What the study of form and training says, in two sentences."""
    worst = _of(rows, "form").groupby("name", sort=False)["relative"].max()
    without = worst[worst.index.str.startswith("(g) without")]
    others = ", ".join(f"{name[:3]} {value:.1%}" for name, value in worst[~worst.index.str.startswith("(g)")].items())
    return Markdown(
        f"At its worst λ, (g) as it is lies {worst['(g) as it is']:.1%} behind tuned direct training, and without one "
        f"of its parts {without.min():.1%} to {without.max():.1%}. The paper's forms with its training: {others}."
    )


@click.command(help=__doc__)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
def main(device: str) -> None:
    chosen = variants()
    jobs = [(METHODS[v.letter].name, defaults(METHODS[v.letter].name) | {"seeds": SEEDS, "device": device} | v.changes)
            for v in chosen]  # fmt: skip
    for dataset in sorted({values["dataset"] for _, values in jobs}):
        download.load(dataset)  # fetched once, before processes want it at the same time
    runs = perform.perform_all(jobs, device)
    for variant, run in zip(chosen, runs, strict=True):
        if isinstance(run, str):
            click.echo(f"{variant.study}, {variant.name}: {run}", err=True)
    tables = [measured(v, run) for v, run in zip(chosen, runs, strict=True) if isinstance(run, Run)]
    rows = compared(tables)
    write_csv(rows, folder("paper") / "studies.csv")
    if isinstance(tuned := runs[0], Run):
        write_csv(of_each(TUNED, tuned), folder("paper") / TUNED_ROWS)
    click.echo(f"{len(tables)} of {len(chosen)} are recorded in {folder('paper') / 'studies.csv'}")


if __name__ == "__main__":
    main()
