"""Changing settings in a `model-config.yaml` line by line, so that comments and order stay.

A YAML library that keeps comments would be one more dependency for six settings of one line each; what
a line edit can get wrong, a look at the result with PyYAML finds.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from model.errors import InputError
from model.files import read_text, reading, write_text

Value = int | str
SECTION = "handler."  # prefix of the settings in the section of that name


def read_settings(path: Path) -> dict[str, Value]:
    """Read the settings of one line by their names; those of the section `handler` as `handler.NAME`."""
    remedy = "give a file like handler/model-config.yaml"
    with reading(path, remedy):
        try:
            return _flatten(yaml.safe_load(read_text(path, remedy)))
        except yaml.YAMLError as error:
            why = " ".join(str(error).split())
            raise InputError(f"{str(path)!r} can't be read as YAML ({why}); {remedy}") from error


def apply_changes(text: str, changes: Mapping[str, Value], where: str) -> str:
    """Return `text` with other values for some settings.

    Raises:
        InputError: one of them isn't in `text` on a line of its own.
    """
    for name, value in changes.items():
        key = re.escape(name.removeprefix(SECTION))
        indent = "[ ]+" if name.startswith(SECTION) else ""
        line = re.compile(rf"^({indent}{key}:[ ]+)([^\s#]+[ ]*)", re.M)
        if found := line.search(text):
            same_column = f"{value} ".ljust(len(found[2])) if found[2].endswith(" ") else str(value)
            text = text[: found.end(1)] + same_column + text[found.end() :]
    now = _flatten(yaml.safe_load(text))
    if missing := [name for name, value in changes.items() if now.get(name) != value]:
        raise InputError(
            f"{where}: {', '.join(missing)} can't be set; give each a line of its own, such as "
            "`batchSize: 8`, as the file of this checkout has them"
        )
    return text


def write_settings(path: Path, changes: Mapping[str, Value]) -> None:
    """Change settings of a file in one step; it is unchanged if that fails."""
    text = apply_changes(path.read_text(encoding="utf-8"), changes, repr(str(path)))
    write_text(text, path)


def _flatten(document: Any) -> dict[str, Value]:
    section = document.get("handler") or {} if isinstance(document, dict) else None
    if not isinstance(section, dict):
        raise TypeError("it doesn't hold settings by their names")
    named = {**document, **{f"{SECTION}{name}": value for name, value in section.items()}}
    return {name: value for name, value in named.items() if isinstance(value, int | str)}
