"""What a trained model gets right on photos it hasn't seen, through the path that is served."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from rich.progress import track
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from model.bundle import read_bundle, write_json
from model.calibration import UNKNOWN
from model.errors import InputError
from model.predictor import Predictor
from training.photos import Photo, read_split

matplotlib.use("agg")
_BATCH = 32


@dataclass(frozen=True)
class Mistake:
    """A photo that was answered wrongly."""

    file: str
    truth: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Evaluation:
    """Figures on one split. `confusion` has a row for each true class, a column for each answer.

    All but `unknown` are of the best class; `unknown` counts photos that serving answers "unknown".
    """

    split: str
    photos: int
    accuracy: float
    accuracy_95: tuple[float, float]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    mistakes: tuple[Mistake, ...]
    unknown: int = 0


def evaluate(run: Path, data: Path, split: str = "test") -> Evaluation:
    """Evaluate the run's bundle on `data/split`.

    Writes `evaluation.json` and `confusion.png` into the run, the figures into the bundle too.
    """
    bundle = read_bundle(run / "bundle")
    classes = bundle.spec.classes
    photos = read_split(data, split)
    strange = sorted(set(photos.classes) - set(classes))
    if strange:
        raise InputError(
            f"{str(data / split)!r} has classes {strange} that the model doesn't know; "
            f"it knows {list(classes)}"
        )
    truth = np.array([classes.index(photos.classes[p.label]) for p in photos.photos])
    predictor = Predictor(bundle)
    answers = _answers(predictor, photos.photos)
    unknown = sum(predictor.name(row) == UNKNOWN for row in answers)
    result = replace(_figures(split, classes, photos.photos, truth, answers), unknown=unknown)
    document = asdict(result)
    write_json(document, run / "evaluation.json")
    draw_confusion(result, run / "confusion.png")
    document.pop("mistakes")
    write_json(document, run / "bundle" / "metrics.json")
    return result


def _answers(predictor: Predictor, photos: tuple[Photo, ...]) -> "np.ndarray[Any, Any]":
    batches = [photos[i : i + _BATCH] for i in range(0, len(photos), _BATCH)]
    return np.concatenate(
        [
            predictor.predict([predictor.prepare(p.path.read_bytes()) for p in batch])
            for batch in track(batches, "evaluating")
        ]
    )  # (N, classes)


def _figures(
    split: str,
    classes: tuple[str, ...],
    photos: tuple[Photo, ...],
    truth: "np.ndarray[Any, Any]",
    answers: "np.ndarray[Any, Any]",
) -> Evaluation:
    predicted = answers.argmax(1)
    labels = list(range(len(classes)))
    scores = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0)
    names = ("precision", "recall", "f1", "photos")
    right = int((predicted == truth).sum())
    mistakes = [
        Mistake(
            str(photos[i].path),
            classes[truth[i]],
            classes[predicted[i]],
            float(answers[i, predicted[i]]),
        )
        for i in np.flatnonzero(predicted != truth)
    ]
    return Evaluation(
        split,
        len(photos),
        right / len(photos),
        wilson(right, len(photos)),
        {c: {n: float(s[i]) for n, s in zip(names, scores, strict=True)} for i, c in enumerate(classes)},
        confusion_matrix(truth, predicted, labels=labels).tolist(),
        tuple(sorted(mistakes, key=lambda m: -m.confidence)),
    )


def wilson(right: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson, 1927)."""
    share = right / of
    centre = share + z * z / (2 * of)
    spread = z * float(np.sqrt(share * (1 - share) / of + z * z / (4 * of * of)))
    scale = 1 + z * z / of
    return (centre - spread) / scale, (centre + spread) / scale


def draw_confusion(result: Evaluation, path: Path) -> None:
    """Draw the confusion matrix: shades are shares of the true class, numbers are photos."""
    counts = np.array(result.confusion)
    classes = list(result.per_class)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.2 + 0.75 * len(classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    low, high = result.accuracy_95
    axes.set_title(f"accuracy {result.accuracy:.1%} (95 %: {low:.1%} to {high:.1%})", fontsize=10)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=120)
