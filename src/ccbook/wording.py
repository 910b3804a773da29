"""Numbers and names as pages, tables and messages say them."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any


def did_you_mean(given: str, known: Iterable[str], otherwise: str) -> str:
    """A hint for a mistyped name: the nearest known one, or else another sentence."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[close[0]]!r}?" if close else otherwise


def assignments(values: Mapping[str, Any]) -> list[str]:
    """Parameters as words of the command line."""
    words = [f"{n}={word(value)}" for n, value in values.items()]
    return ["--set", *words] if words else []


def word(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return ",".join(map(word, value))  # brackets would have to be quoted
    return value if isinstance(value, str) else json.dumps(value)


def visible(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def count(number: int, noun: str) -> str:
    """A number of things: 1 run, 2 runs."""
    return f"{number} {noun}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """About how long: 5 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def mean_sd(mean: float, sd: float = math.nan, form: str = ",.6g", sd_form: str | None = None) -> str:
    """A mean ± its standard deviation, if that is known and not zero; – without a number.

    Args: form, as of format(); sd_form, of the deviation, by default the same.
    """
    if math.isnan(mean):
        return "–"
    return f"{mean:{form}}" + (f" ± {sd:{sd_form or form}}" if sd > 0 else "")
