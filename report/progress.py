"""How far long work is, on standard error: bars for a terminal, and lines that say what was done.

A bar is drawn on a terminal only, so what is piped, logged or tested stays as it is.
"""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from model.text import printable
from report import terminal

Item = TypeVar("Item")


class Advance(Protocol):
    """Moves a bar on, and changes its words."""

    def __call__(self, by: float = 1, what: str | None = None) -> None:
        """`by` is in the bar's own unit."""


def say(*parts: str | Text) -> None:
    """Print a line for people."""
    terminal.messages.print(*parts, soft_wrap=True)


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, and show how many are done; `total` is for those that have no length."""
    if not terminal.messages.is_terminal:
        yield from items
        return
    total = len(items) if total is None and isinstance(items, Sized) else total
    with _bar("items") as bar:
        yield from bar.track(items, total, description=printable(what))


@contextmanager
def progress(what: str, total: float | None = None, unit: str = "items") -> Iterator[Advance]:
    """Show work that advances in steps of its own; without `total`, only that it goes on.

    `unit` is "items", "bytes", or what is counted and shown as a rate too, as in "12.3 photos/s".
    """
    with _bar(unit) as bar:
        task = bar.add_task(printable(what), total=total)

        def advance(by: float = 1, what: str | None = None) -> None:
            bar.update(task, advance=by, description=None if what is None else printable(what))

        yield advance


def _bar(unit: str) -> Progress:
    console = terminal.messages
    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn(), amount]
    if unit not in ("items", "bytes"):
        columns.append(_RateColumn(unit))
    disable = console.quiet or not console.is_terminal
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=disable)


class _RateColumn(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Write the rate; nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g} {self._unit}/s" if speed else "", style="progress.data.speed")
