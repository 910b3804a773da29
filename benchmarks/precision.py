"""What products of bfloat16 change: every cell of Tables 1-3 by the paper's settings, in both precisions.

Runs that are on record are found; the others are trained, about ten minutes on two cores. Writes precision.csv.
"""

import click

from ccbook import chapters, perform
from ccbook.book import formats
from ccbook.compare import cells

CELL = ["table", "quantity", "method", "lam"]


@click.command(help=__doc__)
@click.option("--profile", default="paper", show_default=True, help="quick: a look at few digits and one seed")
def main(profile: str) -> None:
    judged = {}
    for precision in ("float32", "bfloat16"):
        changes = {"precision": precision, "profile": profile}
        runs = {
            letter: perform.perform(chapter.name, chapters.defaults(chapter.name) | changes)
            for letter, chapter in chapters.METHODS.items()
            if chapter.papers
        }
        columns = cells.judge(runs).set_index(CELL)[["mean", "low", "high", "verdict"]]
        judged[precision] = columns.add_suffix(f"_{precision}")
    both = judged["float32"].join(judged["bfloat16"])
    formats.write_csv(both.reset_index(), formats.folder(profile) / "precision.csv")
    same = both["verdict_float32"] == both["verdict_bfloat16"]
    print(f"{same.sum()} of {len(both)} verdicts are the same in both precisions")
    print(both[~same].to_string() if not same.all() else "")


if __name__ == "__main__":
    main()
