"""Archives made from another one: other versions of it, and ones that must be refused."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.archive.layout import MANIFEST, file_name
from serving.names import DEFAULT_MODEL

Change = Callable[[str], str]


def repack(source: Path, target: Path, changes: Mapping[str, Change]) -> Path:
    """Copy an archive with the text of some entries changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, changes[name](content.decode()) if name in changes else content)
    return target


def as_version(
    source: Path, folder: Path, version: str, more: Mapping[str, Change] | None = None
) -> Path:
    """Copy an archive under another version, perhaps with more changes."""

    def number(text: str) -> str:
        document = json.loads(text)
        document["model"]["modelVersion"] = version
        return json.dumps(document)

    target = folder / file_name(DEFAULT_MODEL, version)
    return repack(source, target, {MANIFEST: number, **(more or {})})


def other_answers(text: str) -> str:
    """Golden answers that no model gives: the least probable class gets the highest probability."""
    golden = json.loads(text)
    for entry in golden:
        values = entry["probabilities"]
        names = sorted(values, key=values.__getitem__)
        values[names[0]], values[names[-1]] = values[names[-1]], values[names[0]]
    return json.dumps(golden)


def crash_on_load(text: str) -> str:
    """Make a handler that can't be loaded."""
    return text.replace("def initialize(self", "def initialize(self, _context, *more", 1)
