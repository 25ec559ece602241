"""Accuracy with and without the photos whose label someone has decided to be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.layout import class_name
from report.intervals import Interval, Ints
from training.data.decisions import read_changes
from training.data.split import number
from training.evaluation.measure import score


@dataclass(frozen=True)
class LabelCheck:
    """Accuracies by what is done with `wrong` labels: the photos as they were labelled, and left out.

    `mended` has them as decided; dropped photos are in none of it, if they are no longer there.
    """

    source: str  # file of the decisions
    wrong: int
    dropped: int  # photos of them that belong to no class
    gone: int  # dropped photos that aren't in the folder any more
    as_labelled: float
    without: float
    without_95: Interval
    without_photos: int
    mended: float


def check_labels(
    data: Path,
    folder: Path,
    files: Sequence[str],
    truth: Ints,
    predicted: Ints,
    groups: Ints,
    classes: Sequence[str],
) -> LabelCheck | None:
    """Compare accuracies; None if nobody has decided that a label of these photos is wrong.

    Args:
        data: folder of all photos.
        folder: the split's in it.
        files: (N,) paths of its photos below `data`.
        truth: (N,) labels by their folders; the next two are (N,) as well.
        predicted: what was answered.
        groups: numbers of their groups.
        classes: names of the labels.
    """
    source, changes = read_changes(data)
    split = f"{folder.relative_to(data).as_posix()}/"
    gone = sum(change.dropped and path.startswith(split) for path, change in changes.items())
    gone -= sum(path in changes and changes[path].dropped for path in files)
    wrong = np.array([path in changes for path in files])
    if not wrong.any() and not gone:
        return None
    numbers = {class_name(name): place for place, name in enumerate(classes)}
    given, mended = truth.copy(), truth.copy()
    for place in np.flatnonzero(wrong).tolist():
        change = changes[files[place]]
        given[place] = numbers.get(class_name(change.label), -1)
        mended[place] = numbers.get(class_name(change.now), -1)
    kept, there = ~wrong, mended >= 0
    left = score(truth[kept], predicted[kept], number(groups[kept].tolist()), classes)
    return LabelCheck(
        source=str(source),
        wrong=int(wrong.sum()) + gone,
        dropped=int((wrong & ~there).sum()) + gone,
        gone=gone,
        as_labelled=_share(given == predicted),
        without=left.accuracy,
        without_95=left.accuracy_95,
        without_photos=int(kept.sum()),
        mended=_share(mended[there] == predicted[there]),
    )


def _share(right: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> float:
    return float(right.mean()) if len(right) else 0.0
