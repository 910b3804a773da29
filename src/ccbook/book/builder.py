"""The command builder of the page *Rerun it*: what its form knows of methods, parameters and past runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pydantic import AfterValidator

from ccbook import chapters
from ccbook.book.formats import typed
from ccbook.chapters import METHODS, Chapter
from ccbook.machine import download, workers
from ccbook.parameters import MODELS, PROFILES, WEIGHTS, ParameterError, Parameters, check
from ccbook.records import history
from ccbook.records.run import Run
from ccbook.wording import word

FIRST = ("dataset", "lambdas", "seeds", "epochs", "batch_size", "learning_rate", "prior_std", "hidden", "profile")
# a bound's names in pydantic's schemas, by its sign in the script
BOUNDS = {">=": ("minimum", "ge"), ">": ("exclusiveMinimum", "gt"), "<=": ("maximum", "le"),
          "<": ("exclusiveMaximum", "lt")}  # fmt: skip
# the faults that a value may have without being beyond a bound: a parameter and a value that has it
FAULTS = {
    "integer": ("epochs", "x"), "number": ("prior_std", "x"), "finite": ("prior_std", "inf"),
    "empty": ("lambdas", "[]"), "_distinct": ("lambdas", "1,1"), "_ends": ("lam_range", "2,1"),
    "_affordable": ("hidden", "1000000,1000000"), "printable": ("dataset", "\t"),
}  # fmt: skip


def form(runs: Sequence[Run]) -> str:
    """The form in HTML, with its style and script; without scripts it is nothing."""
    style, script = (Path(__file__).with_suffix(kind).read_text() for kind in (".css", ".js"))
    data = json.dumps(known(runs)).replace("<", "\\u003c")
    return f"""<div class="builder">
<style>{style}</style>
<script type="application/json">{data}</script>
<script>{script}</script>
</div>
"""


def address(p: Parameters) -> str:
    """Where the form stands filled in with a run's parameters, from the site's folder."""
    changed = {name: typed(name, value) for name, value in history.changes(p).items()}
    return f"rerun.html?{urlencode({'method': p.method} | changed)}#build-a-command"


def known(runs: Sequence[Run]) -> dict[str, Any]:
    """What the form checks and estimates with."""
    return {
        "methods": {letter: _method(chapter, runs) for letter, chapter in METHODS.items()},
        "words": {fault: _refusal("c_low_rank", *given) for fault, given in FAULTS.items()},
        "caps": {profile: cap._asdict() for profile, cap in PROFILES.items()},
        "datasets": download.TRAIN,
        "weights": WEIGHTS,
        "cores": os.cpu_count(),  # a page's kernel has fewer threads
        "worth": workers.WORTH_A_PROCESS,
        "start_up": history.START_UP,
    }


def _method(chapter: Chapter, runs: Sequence[Run]) -> dict[str, Any]:
    schema = MODELS[chapter.letter].model_json_schema()["properties"]
    fields = [_field(chapter.name, p, schema[p.name]) for p in chapters.parameters(chapter.name) if p.name != "force"]
    return {
        "title": str(chapter),
        "hypernetwork": chapter.is_hypernetwork,
        "starts": chapter.start is not None,
        "fields": sorted(fields, key=lambda field: not field["first"]),
        "past": history.like(chapter.letter, "cpu", runs),
    }


def _field(chapter: str, parameter: chapters.Parameter, schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter for the form: its type, its bounds with what the command says beyond them, its rules."""
    inner = schema.get("items", schema)
    bounds = [(sign, inner[name]) for sign, names in BOUNDS.items() for name in names if name in inner]
    beyond = {">=": lambda bound: bound - 1, "<=": lambda bound: 2 * bound + 1}  # of the others the bound itself is
    rules = MODELS[chapter[0]].model_fields[parameter.name].metadata
    named = [rule.func.__name__ for rule in rules if isinstance(rule, AfterValidator)]
    return {
        "name": parameter.name,
        "comment": parameter.comment,
        "usual": word(parameter.default),
        "first": parameter.name in FIRST,
        "type": schema["type"],
        "items": inner["type"],
        "choices": schema.get("enum") or (["true", "false"] if schema["type"] == "boolean" else None),
        "bounds": [
            (sign, bound, _refusal(chapter, parameter.name, str(beyond.get(sign, lambda same: same)(bound))))
            for sign, bound in bounds
        ],
        "rules": [name for name in named if name in FAULTS],
    }


def _refusal(chapter: str, name: str, given: str) -> str:
    """What the command says of a value that it refuses."""
    try:
        check(chapter, chapters.defaults(chapter) | {name: given})
    except ParameterError as error:
        return str(error).split(": ", 1)[1]
    raise ValueError(f"{name} = {given} is allowed")
