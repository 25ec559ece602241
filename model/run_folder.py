"""A run folder of `flyobj train` from outside: its bundle, or why it has none. Needs no PyTorch."""

from pathlib import Path

from model.errors import InputError
from model.files import read_json
from model.text import did_you_mean, shell_quote

BUNDLE, SETTINGS, FAILED = "bundle", "settings.json", "failed.json"
_MODEL = "model.json"


def find_bundle(path: Path) -> Path:
    """Find the bundle that a folder is, or as a run holds.

    Raises:
        InputError: there is none; the message says what the folder is instead, and what to do.
    """
    for folder in (path / BUNDLE, path):
        if (folder / _MODEL).is_file():
            return folder
    raise InputError(f"{str(path)!r} {_why_no_bundle(path)}")


def _why_no_bundle(path: Path) -> str:
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = did_you_mean(path.name, beside)
        return f"doesn't exist; give a run folder of `flyobj train`{close}"
    if not path.is_dir():
        return "is a file; give a run folder of `flyobj train`"
    if (path / BUNDLE).is_dir():
        return f"has a bundle without {_MODEL}; put it back, or train again"
    if (path / SETTINGS).is_file():
        how = f"`flyobj train --resume {shell_quote(path)}`"
        if (path / FAILED).is_file():
            why = read_json(path / FAILED).get("error", "")
            return f"has no model yet: its training failed ({why}); continue with {how}"
        return f"has no model yet: its training was interrupted, or is going on; continue with {how}"
    runs = sorted(shell_quote(p) for p in path.iterdir() if (p / BUNDLE / _MODEL).is_file())
    if runs:
        return f"holds runs, and is none itself; give one of {', '.join(runs)}"
    return "holds no model; give a run folder of `flyobj train`"
