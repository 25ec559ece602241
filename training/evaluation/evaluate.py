"""Evaluate a target on a split of labelled photos: every answer, the figures, and the mistakes.

All figures but `unknown` and `out_of_distribution` are of the best class; those two count what is
answered "unknown".
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from model.calibration import Calibration
from model.errors import InputError
from model.layout import class_name
from model.text import did_you_mean
from report.intervals import Floats, Ints
from training.data.photo_groups import number_groups
from training.data.photos import Split, list_unknown, read_split
from training.evaluation.answers import Agreement, Answers, ask, compare, require_classes
from training.evaluation.labels import LabelCheck, check_labels
from training.evaluation.measure import Reliability, Scores, reliability, score
from training.evaluation.target import Target

KEPT = 0.95  # share of known photos


@dataclass(frozen=True)
class Mistake:
    """A photo that was answered wrongly. `file` is relative to the data folder."""

    file: str
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class OutOfDistribution:
    """What became of photos of no known class.

    `auroc` is how well novelty tells them from the split's photos, whatever the threshold: 0.5 is
    chance. Older models have confidence alone (Hendrycks and Gimpel, ICLR 2017). `taken` is the share
    of them that a threshold takes for known which keeps 95 % of the split's photos.
    """

    folder: str
    photos: int
    skipped: int  # files that are no photos
    unknown: int  # answered "unknown"
    mean_confidence: float
    by: str  # "novelty" or "confidence"
    auroc: float
    taken: float
    known: tuple[float, ...]  # of each of the split's photos, novelty or confidence
    strange: tuple[float, ...]  # of each of these


@dataclass(frozen=True, kw_only=True)
class Evaluation(Scores):
    """Figures on one split."""

    target: str
    split: str
    photos: int
    skipped: int  # files that can't be read
    intervals_over: str
    reliability: Reliability
    uncalibrated: Reliability | None  # as it would be without temperature; None if there is none
    calibration: Calibration | None  # None where the target doesn't tell
    unknown: int  # photos of the split that are answered "unknown"
    out_of_distribution: OutOfDistribution | None
    labels: LabelCheck | None  # None if no label of these photos was decided to be wrong
    agreement: tuple[Agreement, ...]
    mistakes: tuple[Mistake, ...]  # the most confident first

    def figures(self) -> dict[str, Any]:
        """What goes with the model into its bundle: everything but files and their folders."""
        document = asdict(self)
        names = ("reliability", "uncalibrated", "out_of_distribution", "labels")
        inner = [document[name] or {} for name in names]
        for part in (document, *inner):
            for name in (
                *("mistakes", "agreement", "target", "bins"),
                *("folder", "source", "known", "strange"),
            ):
                part.pop(name, None)
        return document


def evaluate(
    target: Target,
    data: Path,
    split: str = "test",
    group_regex: str | None = None,
    out_of_distribution: Path | None = None,
    against: Sequence[Target] = (),
) -> Evaluation:
    """Evaluate `target` on `data/split`.

    Args:
        target: what answers.
        data: folder of the split's CLASS/ photos.
        split: which folder of it.
        group_regex: finds in a file's name what photos of one group share.
        out_of_distribution: folder of photos of no known class.
        against: further targets that are asked the same photos; `agreement` says how far they are off.

    Raises:
        InputError: a class of the split isn't one of the target's, or the photos can't be used.
    """
    for other in against:
        require_classes(target, other)
    foreign = list_unknown(out_of_distribution) if out_of_distribution else None
    read = read_split(data, split)
    truth = _labels(target, read)
    groups, how = number_groups(read.photos, data, group_regex)
    paths = [photo.path for photo in read.photos]
    answers = ask(target, paths, "evaluating")
    predicted = answers.probabilities.argmax(axis=1)
    scores = score(truth, predicted, groups, target.classes)
    files = [path.relative_to(data).as_posix() for path in paths]
    return Evaluation(
        target=target.description,
        split=split,
        photos=len(paths),
        skipped=len(read.skipped),
        intervals_over=how,
        **vars(scores),
        reliability=reliability(answers.probabilities, truth),
        uncalibrated=_reliability_before(target, answers.probabilities, truth),
        calibration=target.spec.calibration if target.spec else None,
        unknown=int(answers.unknown.sum()),
        out_of_distribution=foreign and _ask_foreign(target, *foreign, answers),
        labels=check_labels(data, read.folder, files, truth, predicted, groups, target.classes),
        agreement=tuple(
            compare(target, answers, other, ask(other, paths, f"asking {other.description}"), files)
            for other in against
        ),
        mistakes=_mistakes(target.classes, files, truth, answers.probabilities),
    )


def _labels(target: Target, read: Split) -> Ints:
    """Each photo's label as the target numbers it: (photos,)."""
    known = [class_name(name) for name in target.classes]
    strange = sorted(set(read.classes) - set(known))
    if strange:
        raise InputError(
            f"{str(read.folder)!r} has classes {strange} that the model doesn't know; "
            f"it knows {list(target.classes)}{did_you_mean(strange[0], known)}"
        )
    numbers = np.array([known.index(name) for name in read.classes], np.int64)
    return np.asarray(numbers[[photo.label for photo in read.photos]])


def _mistakes(
    classes: tuple[str, ...], files: Sequence[str], truth: Ints, probabilities: Floats
) -> tuple[Mistake, ...]:
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return tuple(
        Mistake(files[i], classes[truth[i]], classes[predicted[i]], float(confidence[i])) for i in order
    )


def _reliability_before(target: Target, probabilities: Floats, truth: Ints) -> Reliability | None:
    """Undo the temperature: p is proportional to q ** (1 / T), so q to p ** T."""
    temperature = target.spec.calibration.temperature if target.spec else 1.0
    if temperature == 1:
        return None
    powers = probabilities.astype(np.float64) ** temperature
    return reliability(powers / powers.sum(axis=1, keepdims=True), truth)


def _ask_foreign(
    target: Target, folder: Path, photos: list[Path], skipped: int, known: Answers
) -> OutOfDistribution:
    answers = ask(target, photos, "asking about photos of no known class")
    confidence = answers.probabilities.max(axis=1)
    if known.novelty is None or answers.novelty is None:
        by, own, theirs = "confidence", known.probabilities.max(axis=1), confidence
    else:
        by, own, theirs = "novelty", known.novelty, answers.novelty
    return OutOfDistribution(
        folder=str(folder),
        photos=len(photos),
        skipped=skipped,
        unknown=int(answers.unknown.sum()),
        mean_confidence=float(confidence.mean()),
        by=by,
        auroc=float(roc_auc_score([1] * len(own) + [0] * len(theirs), np.concatenate([own, theirs]))),
        taken=float((theirs >= np.quantile(own, 1 - KEPT)).mean()),
        known=tuple(own.tolist()),
        strange=tuple(theirs.tolist()),
    )
