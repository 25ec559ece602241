"""What is written of each photo, as CSV or JSON Lines, and how an interrupted run is resumed.

A row is whole or, after a kill, cut off at the end of the file; rows are in the order of the photos. A
row counts as done if its photo still has the same bytes (SHA-256) and the same model answered.
"""

import csv
import io
import json
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from model.errors import InputError
from model.files import atomic_file, writing
from report.tables import csv_text, read_lines
from serving.batch.models import Result

STDOUT = "-"
PROBABILITY = "p: "  # before a class's name, at the top of its column
COLUMNS = ("photo", "predicted", "confidence", "runner_up", "error", "sha256", "model_version", "model")


@dataclass(frozen=True, slots=True)
class Done:
    """A row that was written before."""

    photo: str
    sha256: str
    model: str
    predicted: str  # "" for an error


def as_document(result: Result, model: str, top_k: int | None) -> dict[str, Any]:
    """Lay out a result; `runner_up` is the second best class, `model` the model's fingerprint."""
    document: dict[str, Any] = {"photo": result.photo.name}
    if result.answer:
        probabilities = result.answer["probabilities"]
        best = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
        shown = best[:top_k] if top_k else probabilities
        document |= result.answer
        document["runner_up"] = best[1]
        document["probabilities"] = {name: probabilities[name] for name in shown}
    else:
        document["error"] = result.error
    return document | {"sha256": result.sha256, "model": model}


def is_close(document: Mapping[str, Any]) -> bool:
    """Tell whether the second best class is at least half as probable as the best."""
    given = document.get("probabilities", {})
    return bool(2 * given.get(document.get("runner_up"), 0) >= max(given.values(), default=1))


class RowFormat(Protocol):
    """How rows are written and read back."""

    def header(self) -> str:
        """What comes before the first row."""

    def encode(self, document: Mapping[str, Any]) -> str:
        """Write a row, its end of line included."""

    def decode(self, file: TextIO) -> Iterator[tuple[str, Done]]:
        """Yield each whole row as it is written, and what it says; raises `ValueError`."""


class CsvRows:
    """A column for each fact and each class; classes that aren't among the best K have empty cells."""

    def __init__(self, classes: Sequence[str]) -> None:
        """Name the columns."""
        self._classes = classes
        self._columns = (*COLUMNS, *(PROBABILITY + name for name in classes))

    def header(self) -> str:
        """The columns' names."""
        return csv_text(self._columns, ())

    def encode(self, document: Mapping[str, Any]) -> str:
        """Six digits of each probability: more than repeat from one machine to another."""
        facts = {**document, "confidence": _digits(document.get("confidence"))}
        given = document.get("probabilities", {})
        values = [str(facts.get(name) or "") for name in COLUMNS]
        return csv_text((*values, *(_digits(given.get(name)) for name in self._classes)), ())

    def decode(self, file: TextIO) -> Iterator[tuple[str, Done]]:
        """Only a row with all its cells and its end of line is whole."""
        rows = read_lines(_whole_lines(file))
        if next(rows, []) != list(self._columns):
            raise ValueError("its columns are others")
        pending: list[str] = []
        for row in rows:
            if pending:
                yield self._done(pending)
            pending = row
        if len(pending) == len(self._columns):  # else it was cut off in a name with a line break
            yield self._done(pending)

    def _done(self, row: list[str]) -> tuple[str, Done]:
        if len(row) != len(self._columns):
            raise ValueError(f"a row has {len(row)} cells instead of {len(self._columns)}")
        values = dict(zip(self._columns, row, strict=True))
        done = Done(values["photo"], values["sha256"], values["model"], values["predicted"])
        return csv_text(row, ()), done


class JsonRows:
    """One JSON document a line, in the words of an answer over HTTP."""

    def header(self) -> str:
        """There is none."""
        return ""

    def encode(self, document: Mapping[str, Any]) -> str:
        """Names that aren't UTF-8 are escaped, and come back as they were."""
        text = json.dumps(document, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode() + "\n"

    def decode(self, file: TextIO) -> Iterator[tuple[str, Done]]:
        """Only a line with its end is whole."""
        for line in _whole_lines(file):
            row = json.loads(line)
            try:
                done = Done(row["photo"], row["sha256"], row["model"], row.get("predicted", ""))
            except (TypeError, LookupError, AttributeError) as error:
                raise ValueError("a line isn't a row of ours") from error
            if not all(isinstance(value, str) for value in astuple(done)):
                raise ValueError("a line isn't a row of ours")
            yield line, done


class Output:
    """A file of rows that grows; `done` are the rows it has already."""

    def __init__(self, path: Path, rows: RowFormat, model: str, force: bool) -> None:
        """Look at what is there.

        Raises:
            InputError: the file exists and isn't ours, or is of another model, and isn't to be replaced.
        """
        self.path, self._rows, self._model = path, rows, model
        self._file: TextIO | None = None
        self.resumable = str(path) != STDOUT and (path.is_file() or not path.exists())
        self.done: dict[str, Done] = {}
        if self.resumable and path.is_file() and not force:
            self.done = {done.photo: done for _, done in self._read()}
        elif path.is_dir():
            raise InputError(f"{str(path)!r} is a folder; name a file")

    def start(self, keep: Mapping[str, Done], asked: Container[str]) -> None:
        """Leave the rows of `keep` and of photos that aren't `asked`, and open the file for more."""
        if not self.resumable:
            on_stdout = str(self.path) == STDOUT
            self._file = _stdout() if on_stdout else self._open(self.path, "w")
            self._file.write(self._rows.header())
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.path) as partial, self._open(partial, "w") as file:
            file.write(self._rows.header())
            for text, done in self._read() if self.done else ():
                if done.photo not in asked or keep.get(done.photo) == done:
                    file.write(text)
        self._file = self._open(self.path, "a")

    def write(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; they are in the file when this returns."""
        assert self._file
        with writing(self.path):
            self._file.writelines(map(self._rows.encode, documents))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._file, io.TextIOWrapper) and str(self.path) == STDOUT:
            self._file.detach()  # others go on writing to it
        elif self._file:
            with suppress(OSError):  # `write` has said it
                self._file.close()

    def _read(self) -> Iterator[tuple[str, Done]]:
        """Yield the whole rows of the file."""
        with self._open(self.path, "r") as file:
            header = self._rows.header()
            if header.startswith(file.read(len(header) + 1)):  # killed before the first row, or empty
                return
            file.seek(0)
            try:
                for text, done in self._rows.decode(file):
                    if done.model != self._model:
                        raise ValueError(f"it is of another model or --top-k, {done.model!r}")
                    yield text, done
            except (ValueError, RecursionError, csv.Error) as error:
                raise InputError(
                    f"{str(self.path)!r} exists and can't be continued ({error}); name another file, or "
                    "give --force to replace it"
                ) from error

    @staticmethod
    def _open(path: Path, mode: str) -> TextIO:
        return cast(TextIO, path.open(mode, newline="", encoding="utf-8", errors="surrogateescape"))


def _stdout() -> TextIO:
    """Standard output for names that may be no UTF-8."""
    return io.TextIOWrapper(sys.stdout.buffer, "utf-8", "surrogateescape", newline="")


def _whole_lines(file: TextIO) -> Iterator[str]:
    """Yield the lines without the last one, if that was cut off."""
    before = ""
    for line in file:
        if before:
            yield before
        before = line
    if before.endswith("\n"):
        yield before


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
