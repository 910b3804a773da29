"""What numbers are made from and with: the meaning of the science's code, versions, processor, commit."""

import ast
import datetime
import hashlib
import importlib.metadata
import importlib.util
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ccbook import ROOT

PACKAGES = ("torch", "torchvision", "numpy", "pandas")
SCIENCE = "complexity_control"


def sources(function: str) -> dict[str, str]:
    """The text of each module that the numbers of a method's function follow from, by its path in the science package.

    These are the training, the measuring, the method's own module, and whatever they import of the package.
    """
    found: dict[str, str] = {}
    waiting = [f"{SCIENCE}.{name}" for name in ("training", "pruning", f"methods.{function}")]
    while waiting:
        spec = importlib.util.find_spec(waiting.pop())
        if spec and spec.origin and Path(spec.origin).name != "__init__.py":  # that one only names the others
            path = str(Path(*spec.name.split(".")[1:]).with_suffix(".py"))
            if path not in found:
                found[path] = Path(spec.origin).read_text()
                waiting += re.findall(rf"^ *from ({SCIENCE}\.[\w.]+) import ", meaning(found[path]), re.MULTILINE)
    return dict(sorted(found.items()))


def code(texts: dict[str, str]) -> str:
    """What tells the meaning of sources apart from earlier and later ones; hex sha256."""
    return hashlib.sha256("".join(f"{path}\0{meaning(text)}\0" for path, text in texts.items()).encode()).hexdigest()


@cache
def meaning(source: str) -> str:
    """A module without what changes no number: comments, layout, docstrings, annotations, the words of errors."""
    tree = _Meaning().visit(ast.parse(source))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in tree.body:  # an import may have served an annotation alone
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [name for name in node.names if (name.asname or name.name).split(".")[0] in used]
    tree.body = [node for node in tree.body if getattr(node, "names", True)]
    return ast.unparse(ast.fix_missing_locations(tree))


class _Meaning(ast.NodeTransformer):
    # the names of these methods are ast's
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=None, cause=None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return self.visit(ast.Assign([node.target], node.value)) if node.value else None

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        for field in fields:  # an annotation makes it a field, whatever it says
            field.annotation = ast.Constant(None)
        parts = [part if part in fields else self.visit(part) for part in node.body]
        node.body = [part for part in parts if part] or [ast.Pass()]
        return node


def provenance(device: str) -> dict[str, Any]:
    """When, from which commit, with which versions and on which processor something is made."""
    changes = _git("status", "--porcelain", "--", "src", "chapters")
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(changes)},
        "versions": {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in PACKAGES},
        "processor": processor(device),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # a copy without its history
    return done.stdout.strip()


def processor(device: str) -> str:
    """The name of the processor that a training on this device runs on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:(.*)$", cpuinfo.read_text() if cpuinfo.is_file() else "", re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()
