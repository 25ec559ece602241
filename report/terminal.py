"""What people read in a terminal. Everything that is printed goes through here.

Texts are shown as they are: square brackets in a name are no markup, and what a terminal would obey is
escaped (`model.text`). Styles come from `styled` alone. In a pipe or a file no line is cut or wrapped.
"""

from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.table import Column, Table
from rich.text import Text

from model.text import printable

__all__ = ["Table", "Terminal", "messages", "new_table", "out", "styled"]

_WIDE = 100_000  # columns where there is no terminal: more than any table has


class Terminal(Console):
    """A console of rich's that takes no text for markup."""

    def __init__(self, **options: Any) -> None:
        """`options` are rich's."""
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's, and as wide as need be in a pipe, whatever COLUMNS says."""
        found = super().size
        return found if self.is_terminal else ConsoleDimensions(_WIDE, found.height)

    @size.setter
    def size(self, new: tuple[int, int]) -> None:
        self._width, self._height = new

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string, in a table's cell too."""
        return super().render_str(printable(text), **options)


out, messages = Terminal(), Terminal(stderr=True)  # results; progress, messages and errors


def styled(text: str, style: str) -> Text:
    """A text in a colour, "red", or "bold", or "dim"."""
    return Text(printable(text), style)


def new_table(*headers: str, **options: Any) -> Table:
    """A table whose cells are never cut: on a narrow terminal they take several lines."""
    return Table(*(Column(printable(header), overflow="fold") for header in headers), **options)
