"""What is printed is what a name says: no markup, nothing a terminal obeys, nothing cut."""

import io

import pytest

from report.terminal import Terminal, new_table, styled

NAMES = (
    "[bold]",
    "[/b].jpg",
    "[red]x[/red]",
    ":smile:",
    "\x1b[31m",
    "\x9b2J",
    "two\nlines",
    "\u202egpj",
    "\udcff",
)
SHOWN = (
    "[bold]",
    "[/b].jpg",
    "[red]x[/red]",
    ":smile:",
    r"\x1b[31m",
    r"\x9b2J",
    r"two\nlines",
    r"\u202egpj",
    r"\udcff",
)


def printed(part: object, **options: object) -> str:
    console = Terminal(file=io.StringIO(), **options)
    console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("name", "shown"), [*zip(NAMES, SHOWN, strict=True)])
def test_names_are_shown_as_they_are(name: str, shown: str) -> None:
    table = new_table(name, title=name)
    table.add_row(name)
    table.add_row(styled(name, "red"))
    assert printed(name) == f"{shown}\n"
    assert printed(table).count(shown) == 4
    assert (
        printed(styled(name, "red"), force_terminal=True, color_system="standard")
        == f"\x1b[31m{shown}\x1b[0m\n"
    )


def test_tables_are_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "n" * 300
    table = new_table("name", *"abcdefgh")
    table.add_row(long, *["0.999 (0.99 to 1.00)"] * 8)
    lines = printed(table).splitlines()
    assert [line for line in lines if long in line] == [lines[2]]
    assert lines[2].count("0.999 (0.99 to 1.00)") == 8
    assert printed(f"{long} {long}").splitlines() == [f"{long} {long}"]


def test_nothing_is_cut_on_a_narrow_terminal() -> None:
    table = new_table("name", "figure")
    table.add_row("n" * 300, "0.999")
    text = printed(table, force_terminal=True, width=80, color_system=None)
    assert text.count("n") == 300 + 1  # of "name"
    assert "0.999" in text
    assert max(map(len, text.splitlines())) <= 80


def test_on_80_columns_times_and_names_stay_whole() -> None:
    """Only what is longer than a line's share is folded, and nothing is left out."""
    path = "photos/" + "deep/" * 20 + "IMG_0001.jpg"
    table = new_table("time (UTC)", "operation", "version", "workers ready", "who", "archive")
    table.add_row("2026-11-26T03:45:53", "promote", "10.20", "2/2", "someone@host", path)
    lines = printed(table, force_terminal=True, color_system=None, width=80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    for whole in ("2026-11-26T03:45:53", "promote", "10.20", "2/2", "someone@host"):
        assert any(whole in line for line in lines)
    at = lines[1].index("archive")
    assert "".join(line[at:].strip() for line in lines[3:]).endswith(path)


def test_a_table_too_wide_for_any_terminal_loses_nothing() -> None:
    table = new_table(*"abcdef")
    cells = [f"{letter * 19}." for letter in "abcdef"]
    table.add_row(*cells)
    text = printed(table, force_terminal=True, color_system=None, width=40)
    assert all(text.count(letter) >= 19 for letter in "abcdef")
