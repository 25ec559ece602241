"""Classify many photos: what is done already is kept, the rest is answered, written and sorted.

Memory doesn't grow with the photos but for their paths and, on resuming, what is known of each row.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from model.parallel import CHUNK, in_order
from report.progress import progress, say, track
from serving.batch.models import BatchModel, Result
from serving.batch.output import CsvRows, Done, JsonRows, Output, RowFormat, as_document
from serving.batch.photos import FoundPhotos, PhotoSource
from serving.batch.sorting import Sorter

_READERS = 8  # files read at a time, to see whether they are still the same


@dataclass(frozen=True)
class BatchOptions:
    """Where results go."""

    csv: Path | None = None
    jsonl: Path | None = None
    force: bool = False  # to replace files of another model, or of something else
    sort_into: Path | None = None
    copy: bool = False  # rather than link
    top_k: int | None = None  # of the probabilities; None for all


@dataclass
class BatchSummary:
    """What became of the photos."""

    model: str
    fingerprint: str
    photos: int
    kept: int = 0  # that an earlier run had answered
    others: int = 0  # files in the folders that aren't photos
    classes: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    named_errors: int = 0  # of photos that were named by themselves
    seconds: float = 0.0  # for what wasn't kept
    photos_per_s: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)  # where they are written to no file

    def count(self, photo: PhotoSource, predicted: str) -> None:
        """Count a photo; `predicted` is empty for an error."""
        if predicted:
            self.classes[predicted] += 1
        else:
            self.errors += 1
            self.named_errors += photo.named


def classify(model: BatchModel, found: FoundPhotos, options: BatchOptions) -> BatchSummary:
    """Answer every photo.

    Raises:
        InputError: an output exists and can't be continued, or a folder can't be sorted into.
        FlyobjError: the model fails, or an output can't be written; what was written stays and is kept
            by the next run.
    """
    summary = BatchSummary(model.description, model.fingerprint, len(found.photos), others=found.others)
    formats: list[tuple[Path | None, RowFormat]] = [
        (options.csv, CsvRows(model.classes)),
        (options.jsonl, JsonRows()),
    ]
    # Rows with other probabilities than are asked for now aren't kept either.
    of = f"{model.fingerprint} top {options.top_k}" if options.top_k else model.fingerprint
    with ExitStack() as stack:
        outputs = [Output(p, rows, of, options.force) for p, rows in formats if p]
        sorter, names = None, (*model.classes, "unknown")
        if options.sort_into:
            where = options.sort_into, found.folders, names, model.fingerprint, options.copy
            sorter = Sorter(*where)
        asked = {photo.name: photo for photo in found.photos}
        keep = _still_the_same(asked, names, outputs)
        for output in outputs:
            stack.callback(output.close)
            output.start(keep, asked)
        for photo in found.photos:
            if done := keep.get(photo.name):
                summary.kept += 1
                summary.count(photo, done.predicted)
                if sorter and done.predicted:
                    sorter.place(photo, done.predicted)
        if summary.kept:
            say(f"{summary.kept} of {len(found.photos)} photos are answered already")
        todo = [photo for photo in found.photos if photo.name not in keep]
        _answer(model, todo, (of, options.top_k), outputs, sorter, summary)
    return summary


def _answer(
    model: BatchModel,
    photos: Sequence[PhotoSource],
    row: tuple[str, int | None],  # what its model is called, and the probabilities in it
    outputs: Sequence[Output],
    sorter: Sorter | None,
    summary: BatchSummary,
) -> None:
    started = time.perf_counter()
    with progress("classifying", len(photos), "photos") as advance:
        for results in _batches(model.classify(photos)):
            documents = [as_document(result, *row) for result in results]
            for result in results:
                predicted = result.answer.get("predicted", "")
                summary.count(result.photo, predicted)
                if sorter and predicted:
                    sorter.place(result.photo, predicted)
            for output in outputs:
                output.write(documents)
            if not outputs:
                summary.rows += documents
            advance(len(results))
    summary.seconds = time.perf_counter() - started
    summary.photos_per_s = len(photos) / max(summary.seconds, 1e-9)


def _batches(results: Iterator[Result]) -> Iterator[list[Result]]:
    """Take results together, so that a file isn't written to for each."""
    for _, batch in groupby(enumerate(results), lambda pair: pair[0] // CHUNK):
        yield [result for _, result in batch]


def _still_the_same(
    asked: Mapping[str, PhotoSource], names: Sequence[str], outputs: Sequence[Output]
) -> Mapping[str, Done]:
    """Find the photos that every output has a row of, and whose bytes are still those."""
    if not outputs:
        return {}
    first, *others = (output.done for output in outputs)
    rows = [d for d in first.values() if d.photo in asked and d.predicted in ("", *names)]
    both = [d for d in rows if all(other.get(d.photo) == d for other in others)]
    with ThreadPoolExecutor(_READERS) as pool:
        same = in_order(pool, lambda d: _is_same(d, asked[d.photo]), both, 4 * _READERS)
        known = zip(both, track(same, "looking at what is answered", len(both)), strict=True)
        return {done.photo: done for done, fits in known if fits}


def _is_same(done: Done, photo: PhotoSource) -> bool:
    """Whether a row's photo has its bytes still."""
    try:
        return bool(done.sha256) and hashlib.sha256(photo.read()).hexdigest() == done.sha256
    except OSError:
        return False
