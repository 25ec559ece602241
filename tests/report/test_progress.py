"""Bars are for terminals; what is piped or tested sees the items and nothing else."""

import io
import re
import time

import pytest

from report import terminal
from report.progress import progress, say, track
from report.terminal import Terminal


@pytest.fixture
def console(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal(file=io.StringIO(), force_terminal=request.param, width=80)
    monkeypatch.setattr(terminal, "messages", made)
    return made


def written(console: Terminal) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("console", [False], indirect=True)
def test_nothing_but_lines_is_written_where_nobody_looks(console: Terminal) -> None:
    assert list(track(range(3), "counting")) == [0, 1, 2]
    assert list(track(iter("ab"), "reading", total=2)) == ["a", "b"]
    with progress("working", 2) as advance:
        advance()
    assert written(console) == ""
    say("[b] done \x1b[31m")
    assert written(console) == "[b] done \\x1b[31m\n"


@pytest.mark.parametrize("console", [True], indirect=True)
def test_a_terminal_sees_how_far_it_is(console: Terminal) -> None:
    assert list(track("ab", "counting [/b]\a")) == ["a", "b"]
    assert r"counting [/b]\x07" in written(console)
    assert "2/2" in written(console)
    with progress("fetching", 2e6, "bytes") as advance:
        advance(1e6, "fetching more")
    assert "fetching more" in written(console)
    assert "1.0/2.0 MB" in written(console)
    with progress("classifying", 20, "photos") as advance:
        for _ in range(2):
            advance(10)
            time.sleep(0.05)
    assert re.search(r"\d photos/s", written(console))
