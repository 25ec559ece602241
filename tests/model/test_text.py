"""Texts from outside: a terminal shows them and doesn't obey, a shell reads them back."""

import subprocess
from pathlib import Path

import pytest

from model.text import printable, shell_quote

# CSI, OSC with BEL, a C1 control, line breaks, a tab, right-to-left override, an isolate, a byte
# that isn't UTF-8, zero width, DEL.
HOSTILE = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "\x9b2J": r"\x9b2J",
    "two\nlines\r": r"two\nlines\r",
    "tab\t": r"tab\t",
    "\u202egpj.exe": r"\u202egpj.exe",
    "\u2066x": r"\u2066x",
    "bad\udcff": r"bad\udcff",
    "\u200bx\ufeff": r"\u200bx\ufeff",
    "\x7f": r"\x7f",
    "\u2028": r"\u2028",
}
ORDINARY = (
    "",
    "a b",
    "[bold]",
    "[/b].jpg",
    "Möwe 鳥",
    "\u0645\u06cc\u200c\u062e",
    "👨\u200d👩",
    r"back\slash",
    "$x^2$",
)


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ORDINARY)
def test_other_texts_stay(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "name", [*HOSTILE, *filter(None, ORDINARY), "it's", "'\x1b\\", "-r", "a;b", "*"]
)
def test_a_shell_reads_a_suggested_path_back(name: str) -> None:
    quoted = shell_quote(name)
    assert printable(quoted) == quoted
    command = ["bash", "-c", f"printf %s {quoted}"]
    read = subprocess.run(command, capture_output=True, check=True).stdout
    assert read.decode("utf-8", "surrogateescape").removeprefix("./") == name
    assert shell_quote(Path("runs/first")) == "runs/first"
    assert shell_quote("-r") == "./-r"  # no option
