"""Names and other texts from outside, as a terminal and a shell may get them. Needs no PyTorch."""

import os
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_JOINERS = "\u200c\u200d"  # Persian and Indic scripts and emoji need them


def printable(text: str) -> str:
    r"""Write what a terminal would obey, or show as something else, as an escape: "\x1b[31m".

    These are control characters (C0 and C1, line breaks too), marks that reverse the direction of text,
    other invisible characters, and bytes of file names that aren't UTF-8.
    """
    if text.isprintable():
        return text
    shown = (c if c.isprintable() or c in _JOINERS else _escape(c) for c in text)
    return "".join(shown)


def shell_quote(path: Path | str) -> str:
    r"""Quote a path for a command that is suggested: bash and zsh read it back as it is."""
    text = os.fspath(path)
    if text.startswith("-"):
        text = f"./{text}"  # else it would be an option
    if printable(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(f"\\{c}" if c in "\\'" else _shell_escape(c) for c in text) + "'"


def shorten(path: Path | str) -> Path:
    """Write a path below the current folder without that, any other in full."""
    path, here = Path(path).resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def quote_bytes(data: bytes | bytearray) -> str:
    """Quote text as it is; show anything else as hexadecimal numbers."""
    text = bytes(data).decode("ascii", "replace")
    return repr(text) if text.isascii() and text.isprintable() else f"the bytes {bytes(data).hex(' ')}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which of the known names is close to one that isn't; nothing if none is."""
    lower = {other.casefold(): other for other in known}
    close = get_close_matches(name.casefold(), lower, n=1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _shell_escape(character: str) -> str:
    if printable(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
