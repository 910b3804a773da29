"""What the chapters say of themselves: their names, and the parameters of their first cell."""

import ast
import difflib
import json
import reprlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]  # as in data, without importing torch: the shell's completion can't wait for that


class Parameter(NamedTuple):
    """A line of a parameters cell, the only place where it is written."""

    name: str
    type: str
    default: Any
    comment: str


@cache
def names() -> tuple[str, ...]:
    """The methods' chapters, in the paper's order."""
    return tuple(sorted(path.stem for path in (ROOT / "chapters").glob("[a-f]_*.ipynb")))


@cache
def letters() -> dict[str, str]:
    """The paper's letter of each method, and its chapter."""
    return {name[0]: name for name in names()}


@cache
def parameters(chapter: str) -> tuple[Parameter, ...]:
    """The parameters of a chapter, in its order."""
    notebook = json.loads((ROOT / "chapters" / f"{chapter}.ipynb").read_text())
    (cell,) = [c for c in notebook["cells"] if c["metadata"].get("tags") == ["parameters"]]
    source = "".join(cell["source"])
    lines = source.splitlines()
    return tuple(
        Parameter(
            ast.unparse(node.target),
            ast.unparse(node.annotation),
            ast.literal_eval(node.value),
            lines[node.end_lineno - 1][node.end_col_offset :].strip(" #"),
        )
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and node.value and node.end_lineno
    )


def named(given: str) -> str:
    """The chapter of this name or letter.

    Raises: ValueError, with the nearest name.
    """
    chapter = letters().get(given, given)
    if chapter in names():
        return chapter
    close = difflib.get_close_matches(given, names(), n=1, cutoff=0.4)
    hint = f": did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"no method {reprlib.repr(given)}{hint} There are {', '.join(names())}, or their letters")
