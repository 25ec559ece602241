"""Homes of servers: which one is meant without `--home`, where servers run, and commands that name one.

Each start of a server leaves a link to its home in a folder of the user's, `flyobj/homes` below
$XDG_STATE_HOME, and its end removes it:
https://specifications.freedesktop.org/basedir-spec/latest/

A link only says where to look. Which process is the server of a home, its `server.json` says and nothing
else. Where that folder can't be used, homes have to be named.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from model.text import shell_quote, shorten
from serving.names import DEFAULT_HOME

VARIABLE = "FLYOBJ_HOME"


def default_home() -> Path:
    """Return the home that is meant where none is named."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_HOME)


def command(words: str, *arguments: Path | str, home: Path | str | None = None) -> str:
    """Write a command of ours that can be pasted: `arguments` are quoted, `home` is named if need be."""
    typed = ["flyobj", words, *map(shell_quote, arguments)]
    if home is not None and Path(home).resolve() != default_home().resolve():
        typed += ["--home", shell_quote(shorten(home))]
    return " ".join(typed)


def remember(home: Path) -> None:
    """Note that a server was started with this home."""
    with suppress(OSError, RuntimeError):
        link = _link(home)
        link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        link.symlink_to(home.resolve())


def forget(home: Path) -> None:
    """Note that no server runs with this home any more."""
    with suppress(OSError, RuntimeError):
        _link(home).unlink()


def remembered() -> list[Path]:
    """List the homes in which servers were started; whether one runs, only the home itself says."""
    try:
        folder = _folder()
        if folder.stat().st_uid != os.getuid():  # somebody else says where to send photos
            return []
        return sorted(link.readlink() for link in folder.iterdir() if link.is_symlink())
    except (OSError, RuntimeError):
        return []


def _folder() -> Path:
    """Return where the links are; raises `RuntimeError` for a user who has no home folder."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # to be ignored, says the specification
        state = Path.home() / ".local" / "state"
    return state / "flyobj" / "homes"


def _link(home: Path) -> Path:
    return _folder() / hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
