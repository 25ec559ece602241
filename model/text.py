"""Names and other texts from outside, as a terminal and a shell may get them. Needs no PyTorch."""

import os
import shlex
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


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _shell_escape(character: str) -> str:
    if printable(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
