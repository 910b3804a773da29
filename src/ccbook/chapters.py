"""The methods, in one table, and their chapters' parameters, without torch: the shell's completion can't wait."""

import ast
import importlib
import json
import reprlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ccbook import ROOT
from ccbook.wording import did_you_mean


class Chapter(NamedTuple):
    """A method of the book."""

    letter: str  # the paper's, and (g) for ours
    name: str  # of its notebook in chapters/
    title: str
    function: str  # complexity_control.methods.FUNCTION.FUNCTION gives the method
    start: str | None = None  # the letter of the method that a fine-tuning starts from
    papers: bool = True  # whether the paper has it

    def __str__(self) -> str:
        return f"({self.letter}) {self.title}"

    @property
    def is_hypernetwork(self) -> bool:
        """Whether one training serves every lambda."""
        return self.function != "direct"

    @property
    def make(self) -> Callable[..., Any]:
        """The function that gives the method."""
        return getattr(importlib.import_module(f"complexity_control.methods.{self.function}"), self.function)


METHODS = {chapter.letter: chapter for chapter in (
    Chapter("a", "a_direct", "direct", "direct"),
    Chapter("b", "b_direct_one_epoch", "direct, one epoch", "direct"),
    Chapter("c", "c_low_rank", "low-rank hypernetwork", "low_rank"),
    Chapter("d", "d_low_rank_fine_tuned", "low-rank, fine-tuned", "direct", start="c"),
    Chapter("e", "e_linear", "linear hypernetwork", "linear"),
    Chapter("f", "f_linear_fine_tuned", "linear, fine-tuned", "direct", start="e"),
    Chapter("g", "g_tempered", "tempered hypernetwork", "tempered", papers=False),
)}  # fmt: skip


def names() -> list[str]:
    """The methods' chapters."""
    return [chapter.name for chapter in METHODS.values()]


def named(given: str) -> str:
    """The chapter of this name or letter. Raises: ValueError, with the nearest name."""
    chapter = METHODS[given].name if given in METHODS else given
    if chapter in names():
        return chapter
    hint = did_you_mean(given, names(), "there is none like it.")
    raise ValueError(f"no method {reprlib.repr(given)}: {hint} There are {', '.join(names())}, or their letters")


class Parameter(NamedTuple):
    """A line of a parameters cell, the only place where it is written."""

    name: str
    type: str
    default: Any
    comment: str


@cache
def parameters(chapter: str) -> tuple[Parameter, ...]:
    """The parameters of a chapter, in its order."""
    notebook = json.loads((ROOT / "chapters" / f"{chapter}.ipynb").read_text())
    (cell,) = [c for c in notebook["cells"] if c["metadata"].get("tags") == ["parameters"]]
    source = "".join(cell["source"])
    lines = source.splitlines()
    return tuple(
        Parameter(ast.unparse(node.target), ast.unparse(node.annotation), ast.literal_eval(node.value),
                  lines[node.end_lineno - 1][node.end_col_offset :].strip(" #"))
        for node in ast.parse(source).body if isinstance(node, ast.AnnAssign) and node.value and node.end_lineno
    )  # fmt: skip


def defaults(chapter: str) -> dict[str, Any]:
    """The values in a chapter's parameters cell."""
    return {parameter.name: parameter.default for parameter in parameters(chapter)}
