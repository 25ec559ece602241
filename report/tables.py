"""CSV tables as people open them: no cell is a formula, and what was written is read back as it was.

RFC 4180, UTF-8. Spreadsheets compute a text that starts with = + - or @, so that a file's name could run
a command; such a text gets an apostrophe in front (OWASP, "CSV Injection"). Numbers stay numbers.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from model.files import reading, write_bytes

# Spreadsheets in East Asian languages take the full-width signs too. Apostrophes in front are part of
# the pattern, so that a name that starts with '= comes back as well.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def write_csv(target: Path | TextIO, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to a file; names of files may hold bytes that aren't UTF-8."""
    if isinstance(target, Path):
        write_bytes(csv_text(header, rows).encode("utf-8", "surrogateescape"), target)
        return
    writer = csv.writer(target)
    writer.writerow(map(_guard, header))
    writer.writerows(map(_guard, row) for row in rows)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as one text."""
    stream = io.StringIO()
    write_csv(stream, header, rows)
    return stream.getvalue()


def read_csv(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a table, its header first.

    Raises:
        csv.Error: it isn't CSV.
        ValueError: it isn't UTF-8.
    """
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        yield from read_lines(file)


def read_edited_csv(path: Path, remedy: str) -> Iterator[list[str]]:
    """Yield the lines of a table that may have been edited: its header, which says what separates cells.

    Spreadsheets write semicolons or tabs, a byte order mark, UTF-16 and other line ends.

    Raises:
        InputError: it can't be read; the message ends with `remedy`.
    """
    with reading(path, remedy):
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16") if wide else content.decode("utf-8-sig", "surrogateescape")
        lines = io.StringIO(text, newline="" if "\n" in text else None)
        header = text.splitlines()[0] if text else ""
        separator = max(",;\t", key=header.count)
        try:
            rows = list(csv.reader(lines, delimiter=separator))
        except csv.Error as error:
            raise ValueError(str(error)) from error
    return map(_unguard, rows)


def read_lines(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the rows of a table's text, as `read_csv` does."""
    for row in csv.reader(lines):
        yield _unguard(row)


def _unguard(row: Sequence[str]) -> list[str]:
    return [cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell for cell in row]


def _guard(cell: object) -> object:
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
