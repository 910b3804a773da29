"""The page of the claims: a card for each, with its numbers as dots beside the threshold."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.colors import to_hex

from ccbook.book import artefacts
from ccbook.book.formats import CLAIM_SIGNS, COLOURS, choices, folder, write_csv
from ccbook.book.plots import palette
from ccbook.compare import claims
from ccbook.compare.claims import ALL, Case
from ccbook.compare.printed import LAMBDAS
from ccbook.records.run import Run

LANE = 9  # pixels from one case to the next
OF_LAMBDA: Mapping[float, Any] = palette(LAMBDAS)
DOTS = {lam: to_hex(colour) for lam, colour in OF_LAMBDA.items()} | {ALL: "currentColor"}  # of a case, by its first λ


def cards(profile: str, runs: Mapping[str, Run]) -> artefacts.Artefact:
    """The claims, those that fail first, with a filter that needs no script; write claims.csv."""
    found = [*claims.all_cases(runs)]
    judged = claims.judged(found, runs)
    write_csv(judged, folder(profile) / "claims.csv")
    cases = {claim.name: of_claim for claim, *of_claim in found}
    judged = judged.sort_values("verdict", key=lambda verdicts: -verdicts.map([*CLAIM_SIGNS].index), kind="stable")
    listed = "\n".join(_card(row, *cases[row["name"]]) for row in judged.to_dict("records"))
    drawn = f'<div class="claims">{_filter(judged["verdict"])}{_legend()}\n{listed}</div>'
    caption = "The paper's claims, what decides each, and the verdict."
    return artefacts.block("claims-verdicts", drawn, caption, judged, runs.values())


def _filter(verdicts: pd.Series) -> str:
    """A choice of the verdict; the style sheet hides the cards of the others."""
    counts = verdicts.value_counts().reindex(list(CLAIM_SIGNS)[::-1]).dropna()
    words = {"all": f"all {len(verdicts)}"} | {v: f"{CLAIM_SIGNS[v]} {v} {n:.0f}" for v, n in counts.items()}
    return choices("verdict", "Show", {_slug(verdict): text for verdict, text in words.items()})


def _slug(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _legend() -> str:
    keys = {f"λ = {lam:g}": f'fill="{colour}"' for lam, colour in DOTS.items() if lam != ALL}
    keys |= {"ours, with its interval": 'fill="currentColor"', "the paper's": 'class="paper" stroke="currentColor"'}
    dot = '<svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="4" {}/></svg>'
    listed = " ".join(f"<span>{dot.format(how)} {text}</span>" for text, how in keys.items())
    sides = "<span>← not as claimed</span><span>threshold</span><span>as claimed →</span>"
    return f'<p class="keys">{listed}</p><p class="sides" aria-hidden="true">{sides}</p>'


def _card(row: Mapping[str, str], ours: list[Case], theirs: list[Case]) -> str:
    words = {name: html.escape(text) for name, text in row.items()}
    sign = CLAIM_SIGNS[row["verdict"]]
    return f"""<article id="claim-{row["name"]}" data-verdict="{_slug(row["verdict"])}">
<p class="verdict" style="{COLOURS[sign]}">{sign} {row["verdict"]}</p>
<div><p>{words["claim"]}</p><p class="rule">{words["quantity"]}: {words["test"]}</p>
<details class="numbers"><summary>Numbers<span class="x-heard"> of: {words["claim"]}</span></summary>
<p><b>Ours:</b> {words["value"] or "none"}</p><p><b>The paper against itself:</b> {words["paper_itself"]}</p>
</details></div><div class="strips">{"".join(strips(ours, theirs))}</div></article>"""


def strips(ours: list[Case], theirs: list[Case]) -> Iterator[str]:
    """A strip for each method or pair of them: a lane for each case, on one scale with the threshold in its middle."""
    widest = max((abs(margin) for case in (*ours, *theirs) for margin in case.margins), default=0) or 1
    for methods in dict.fromkeys(case.methods for case in (*ours, *theirs)):
        both = {whose: [case for case in cases if case.methods == methods]
                for whose, cases in (("ours", ours), ("paper", theirs))}  # fmt: skip
        places = dict.fromkeys(case.at for cases in both.values() for case in cases)
        lanes = {at: LANE * (k + 0.5) + 2 for k, at in enumerate(places)}
        marks = "".join(_marks(case, lanes[case.at], widest, whose) for whose, cases in both.items() for case in cases)
        heard = "; ".join(f"{whose}: {claims.in_words(cases)}" for whose, cases in both.items() if cases)
        yield (
            f'<span>{methods}</span><svg role="img" aria-label="{html.escape(heard)}" height="{LANE * len(lanes) + 4}">'
            f'<rect width="50%" height="100%"/><line class="threshold" x1="50%" x2="50%" y2="100%"/>{marks}</svg>'
        )


def _marks(case: Case, y: float, widest: float, whose: str) -> str:
    # the threshold is in the middle of the strip, and what passes is to its right
    low, middle, high = (f"{50 + 47 * margin / widest:.2f}%" for margin in case.margins)
    colour = DOTS[case.lam]
    return (
        f'<g class="{whose}" stroke="{colour}" fill="{colour}"><line x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        f'<circle cx="{middle}" cy="{y}" r="4"/></g>'
    )
