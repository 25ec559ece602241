"""JSON files, and what may be in them; needs no PyTorch."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.errors import InputError


def read_json(path: Path) -> Any:
    """Read a JSON document, or say what is wrong with the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} can't be read as JSON ({error})") from error


def write_json(document: Any, path: Path) -> None:
    """Write a JSON document under a temporary name and rename it into place.

    Bytes of file names that are no UTF-8 are escaped, and come back as they were.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    partial.replace(path)


def exact_keys(
    document: Any, keys: Sequence[str], where: str, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Return `document` if it is an object with exactly these keys; `optional` ones may be missing."""
    if not isinstance(document, dict):
        raise InputError(f"{where} must be a JSON object, it is {type(document).__name__}")
    missing = sorted(set(keys) - set(document) - set(optional))
    unknown = sorted(set(document) - set(keys))
    if missing or unknown:
        raise InputError(
            f"{where}: missing keys {missing}, unknown keys {unknown}; exactly {sorted(keys)} are "
            "allowed; train or package it again"
        )
    return document
