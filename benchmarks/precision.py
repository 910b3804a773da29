"""What products of bfloat16 change: every cell of Tables 1-3 by the paper's settings, in both precisions.

Runs that are on record are found; the others are trained, about ten minutes on two cores. Writes precision.csv.
"""

import click

from complexity_control import experiment, parameters, reported, results, verdicts

CELL = ["table", "quantity", "method", "lam"]


@click.command(help=__doc__)
@click.option("--profile", default="paper", show_default=True, help="quick: a look at few digits and one seed")
def main(profile: str) -> None:
    judged = {}
    for precision in ("float32", "bfloat16"):
        changes = {"precision": precision, "profile": profile}
        runs = {m: experiment.perform(c, parameters.defaults(c) | changes) for m, c in reported.CHAPTERS.items()}
        cells = verdicts.cells(runs).set_index(CELL)[["mean", "low", "high", "verdict"]]
        judged[precision] = cells.add_suffix(f"_{precision}")
    both = judged["float32"].join(judged["bfloat16"])
    results.table_csv(both.reset_index(), results.folder(profile) / "precision.csv")
    same = both["verdict_float32"] == both["verdict_bfloat16"]
    print(f"{same.sum()} of {len(both)} verdicts are the same in both precisions")
    print(both[~same].to_string() if not same.all() else "")


if __name__ == "__main__":
    main()
