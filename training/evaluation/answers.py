"""Asking a target, and comparing what two of them answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import FlyobjError, InputError
from model.golden import TOLERANCE
from report.intervals import Floats
from report.progress import track
from training.evaluation.target import Target

BATCH = 32  # photos


@dataclass(frozen=True)
class Answers:
    """What a target said of N photos."""

    probabilities: Floats  # (N, classes)
    unknown: "np.ndarray[tuple[int], np.dtype[np.bool_]]"  # (N,), whether it was answered "unknown"
    novelty: Floats | None = None  # (N,); None where the target doesn't tell


@dataclass(frozen=True)
class Flip:
    """A photo for which two targets name different classes."""

    file: str
    here: str
    there: str


@dataclass(frozen=True)
class Agreement:
    """How far two targets are apart over the same photos.

    They agree if no probability differs by more than the tolerance that packaging and serving allow
    golden photos, `model.golden.TOLERANCE`; a flip among level classes is then none.
    """

    target: str
    largest_difference: float
    flips: tuple[Flip, ...]
    agrees: bool
    tolerance: float = TOLERANCE


def ask(target: Target, photos: Sequence[Path], what: str) -> Answers:
    """Let `target` answer photos that can be read.

    Raises:
        FlyobjError: it refuses one; the message says which and why.
    """
    rows: list[list[float]] = []
    unknown: list[bool] = []
    novelty: list[float] = []
    for start in track(range(0, len(photos), BATCH), what):
        batch = photos[start : start + BATCH]
        replies = target.answer([path.read_bytes() for path in batch])
        for path, reply in zip(batch, replies, strict=True):
            if "probabilities" not in reply:
                raise FlyobjError(
                    f"{target.description} refuses {str(path)!r}: "
                    f"{reply.get('message', dict(reply))}; every photo is needed for the figures"
                )
            rows.append([reply["probabilities"][name] for name in target.classes])
            unknown.append(reply["predicted"] not in target.classes)
            novelty += [reply["novelty"]] if "novelty" in reply else []
    told = len(novelty) == len(rows)
    return Answers(np.array(rows), np.array(unknown), np.array(novelty) if told else None)


def compare(
    one: Target, ours: Answers, other: Target, theirs: Answers, files: Sequence[str]
) -> Agreement:
    """Compare two targets' answers to the same photos, by the classes' names.

    Raises:
        InputError: they know different classes.
    """
    require_classes(one, other)
    columns = [other.classes.index(name) for name in one.classes]
    matched = theirs.probabilities[:, columns]
    best, others = ours.probabilities.argmax(1), matched.argmax(1)
    flips = tuple(
        Flip(files[i], one.classes[best[i]], one.classes[others[i]])
        for i in np.flatnonzero(best != others).tolist()
    )
    largest = largest_difference(one, ours, other, theirs)
    return Agreement(other.description, largest, flips, largest <= TOLERANCE)


def largest_difference(one: Target, ours: Answers, other: Target, theirs: Answers) -> float:
    """How far probabilities and novelty are apart at most; 1 if classes differ or one lacks novelty."""
    if set(one.classes) != set(other.classes) or (ours.novelty is None) != (theirs.novelty is None):
        return 1.0
    columns = [other.classes.index(name) for name in one.classes]
    apart = float(np.abs(ours.probabilities - theirs.probabilities[:, columns]).max())
    if ours.novelty is None or theirs.novelty is None:
        return apart
    return max(apart, float(np.abs(ours.novelty - theirs.novelty).max()))


def require_classes(one: Target, other: Target) -> None:
    """Refuse two targets that can't be compared."""
    if set(one.classes) != set(other.classes):
        raise InputError(
            f"{one.description} knows {list(one.classes)}, {other.description} {list(other.classes)}; "
            "only models of the same classes can be compared"
        )


def require_agreement(target: str, agreement: Sequence[Agreement]) -> None:
    """Raise a `FlyobjError` if one of the targets answered differently from `target`."""
    if apart := [other for other in agreement if not other.agrees]:
        raise FlyobjError(
            f"{target} and {', '.join(other.target for other in apart)} answer differently: "
            f"probabilities are up to {max(other.largest_difference for other in apart):.2g} apart"
        )
