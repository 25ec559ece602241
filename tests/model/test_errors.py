"""The tree of errors in the docstring, as the code has it."""

import ast
import re
from pathlib import Path

from model import errors

ROOT = Path(errors.__file__).parents[1]
ROOMS = ("model", "report", "training", "handler", "serving", "loadtest", "cli", "deploy")


def test_the_docstring_draws_every_error() -> None:
    bases = {"FlyobjError": "Exception"}
    classes = [
        node
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    for _ in range(4):  # levels of the tree
        for node in classes:
            for base in (b.id for b in node.bases if isinstance(b, ast.Name) and b.id in bases):
                bases[node.name] = base
    drawn = set(re.findall(r"^ +(?:[+x] )?([A-Z]\w+) {2,}", errors.__doc__ or "", re.M))
    assert drawn == set(bases)
