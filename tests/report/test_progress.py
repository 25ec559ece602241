"""Bars are for terminals; what is piped or tested sees the items and nothing else."""

import io

import pytest
import rich
from rich.console import Console

from report.progress import progress, say, track


@pytest.fixture
def console(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Console:
    made = Console(file=io.StringIO(), force_terminal=request.param, width=80)
    monkeypatch.setattr(rich, "_console", made)
    return made


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("console", [False], indirect=True)
def test_nothing_but_lines_is_written_where_nobody_looks(console: Console) -> None:
    assert list(track(range(3), "counting")) == [0, 1, 2]
    assert list(track(iter("ab"), "reading", total=2)) == ["a", "b"]
    with progress("working", 2) as advance:
        advance()
    assert written(console) == ""
    say("[b] done")
    assert written(console) == "[b] done\n"


@pytest.mark.parametrize("console", [True], indirect=True)
def test_a_terminal_sees_how_far_it_is(console: Console) -> None:
    assert list(track("ab", "counting [/b]")) == ["a", "b"]
    assert "counting [/b]" in written(console)
    assert "2/2" in written(console)
    with progress("fetching", 2e6, "bytes") as advance:
        advance(1e6, "fetching more")
    assert "fetching more" in written(console)
    assert "1.0/2.0 MB" in written(console)
