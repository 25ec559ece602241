"""What people read in a terminal. Everything that is printed goes through here.

Texts are shown as they are: square brackets in a name are no markup, and what a terminal would obey is
escaped (`model.text`). Styles come from `styled` alone. In a pipe or a file no line is cut or wrapped.
"""

from textwrap import wrap
from typing import Any

from rich import box, table
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.measure import measure_renderables
from rich.text import Text

from model.text import printable

__all__ = ["Table", "Terminal", "messages", "new_table", "out", "styled"]

_WIDE = 100_000  # columns where there is no terminal: more than any table has
_LEAST = 12  # characters that are left to each column at least
_GAP = 2  # between columns


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


class Table(table.Table):
    """A table whose cells are never cut: on a narrow terminal the longest take several lines."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Fold headers first, and then the longest cells; as many columns as can be stay whole."""
        cells = [measure_renderables(console, options, [*c._cells]).maximum for c in self.columns]
        headers = [str(column.header) for column in self.columns]
        gaps = _GAP * (len(cells) - 1)
        widths = [max(width, len(header)) for width, header in zip(cells, headers, strict=True)]
        if sum(widths) + gaps > options.max_width:
            for at, (width, header) in enumerate(zip(cells, headers, strict=True)):
                widths[at] = max([width, *map(len, header.split())])
                self.columns[at].header = Text("\n".join(wrap(header, widths[at] or 1)))
        room = options.max_width - gaps - sum(min(w, _LEAST) for w in widths)
        for width, column in sorted(zip(widths, self.columns, strict=True), key=lambda pair: pair[0]):
            room -= max(0, width - _LEAST)
            column.no_wrap = room >= 0
        yield from super().__rich_console__(console, options)


def new_table(*headers: str, **options: Any) -> Table:
    """A table of texts; see `Table`."""
    columns = (table.Column(Text(printable(header)), overflow="fold") for header in headers)
    return Table(
        *columns,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),
        **options,
    )
