"""The manifest: one row for each file found, with what it is, what became of it, and why.

Names may hold quotes, newlines, formulas and bytes that are no UTF-8: they come back as they were.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from model.errors import InputError, PhotoError, PhotoTooLarge, UnsupportedFormat
from model.layout import TEST, TRAIN
from report.tables import read_csv, write_csv

NAME = "manifest.csv"
HEADER = (
    *("path", "class", "split", "group", "sha256", "phash", "bytes", "width", "height", "format"),
    *("cluster", "kept", "reason", "other", "detail", "file", "colour", "taken"),
    *("label", "suspect", "decision", "decided_by", "decided_at"),
)
_OLDEST = 15  # columns of the first version; each later one has added some


class Reason(StrEnum):
    """Why a file was dropped, in the order they are looked for; `EXTENSION` is of files kept."""

    HIDDEN = "hidden file"
    OUTSIDE = "not in a class folder"
    UNOPENED = "can't be opened"
    EMPTY = "zero bytes"
    UNSUPPORTED = "not an image"
    TOO_LARGE = "too large"
    UNREADABLE = "not decodable"
    TOO_SMALL = "too small"
    DECIDED = "dropped by decision"
    CONFLICT = "under two classes"
    DUPLICATE = "exact duplicate"
    NEAR = "near duplicate"
    PRUNED = "pruned cluster"
    EXTENSION = "extension contradicts content"


def reason_for(error: PhotoError | OSError) -> Reason:
    """Why a file can't be read, from what reading or decoding it has raised."""
    if isinstance(error, OSError):
        return Reason.UNOPENED
    if isinstance(error, PhotoTooLarge):
        return Reason.TOO_LARGE
    return Reason.UNSUPPORTED if isinstance(error, UnsupportedFormat) else Reason.UNREADABLE


@dataclass(slots=True)
class Row:
    """One file. `path` is relative to the source, with slashes; sides are of the upright photo."""

    path: str
    class_name: str = ""
    split: str = ""
    group: str = ""  # what --group-regex found in the name, or `grouping.find_groups`
    sha256: str = ""
    phash: str = ""  # 256 bits in hexadecimal; "" for a photo without any structure
    bytes: int = 0
    width: int = 0
    height: int = 0
    format: str = ""
    cluster: str = ""  # b1s3: second smallest by file size, fourth smallest by sides
    kept: bool = True
    reason: Reason | None = None
    other: str = ""  # the photo that a duplicate duplicates
    detail: str = ""
    file: str = ""  # path below its class folder; "" for a file in none
    colour: str = ""  # see `grouping.Look`; so is `taken`
    taken: str = ""
    label: str = ""  # the class that it came with, where a decision has given it another
    suspect: str = ""  # why its label is doubted; see `decisions`
    decision: str = ""
    decided_by: str = ""
    decided_at: str = ""  # when the table of decisions was saved, UTC

    def drop(self, reason: Reason, detail: str = "", other: str = "") -> None:
        """Leave the file out of the data set."""
        self.kept, self.reason, self.detail, self.other = False, reason, detail, other

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]


def target(row: Row) -> str:
    """Where a kept file lies in the prepared folder: SPLIT/CLASS/ and its path below the class."""
    if row.file:
        return f"{row.split}/{row.class_name}/{row.file}"
    # Manifests didn't always have it. The class is the first or, after a split, the second folder.
    parts = row.path.split("/")
    depth = 1 if parts[0] in (TRAIN, TEST) and len(parts) > 2 and parts[1] == row.class_name else 0
    return "/".join((row.split, *parts[depth:]))


def write_manifest(rows: Iterable[Row], path: Path) -> None:
    """Write the rows in their order."""
    write_csv(path, HEADER, map(_cells, rows))


def read_manifest(path: Path) -> list[Row]:
    """Read what `write_manifest` wrote.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    try:
        lines = read_csv(path)
        header = tuple(next(lines, ()))
        if len(header) < _OLDEST or header != HEADER[: len(header)]:
            raise ValueError("another header")
        return [_row(values) for values in lines]
    except FileNotFoundError as error:
        raise InputError(
            f"{str(path)!r}: no such file; give a folder made by `flyobj data prepare`"
        ) from error
    except OSError as error:
        raise InputError(
            f"{str(path)!r} can't be read ({error.strerror}); make it again with `flyobj data prepare`"
        ) from error
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{str(path)!r} isn't a valid manifest ({error}); make it again with `flyobj data prepare`"
        ) from error


def _cells(r: Row) -> tuple[object, ...]:
    facts = (r.path, r.class_name, r.split, r.group, r.sha256, r.phash, r.bytes)
    photo = (r.width or "", r.height or "", r.format)
    verdict = (r.cluster, "yes" if r.kept else "no", str(r.reason or ""), r.other, r.detail)
    decided = (r.label, r.suspect, r.decision, r.decided_by, r.decided_at)
    return (*facts, *photo, *verdict, r.file, r.colour, r.taken, *decided)


def _row(values: list[str]) -> Row:
    path, class_name, split, group, sha256, phash, size, width, height, kind = values[:10]
    cluster, kept, reason, other, detail = values[10:15]
    return Row(
        *(path, class_name, split, group, sha256, phash),
        *(int(size), int(width or 0), int(height or 0), kind, cluster, kept == "yes"),
        *(Reason(reason) if reason else None, other, detail),
        *values[_OLDEST:],
    )
