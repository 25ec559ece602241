"""What short fine-tunings say, each of photos whose groups it hasn't seen."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from model.bundle import read_bundle
from model.errors import InputError
from model.layout import TRAIN
from model.predictor import Predictor
from model.run_folder import BUNDLE
from report.intervals import Floats, Ints
from report.progress import say, track
from training.fit.settings import TrainSettings
from training.run import train
from training.suspects.collect import BATCH, Photos

FOLDS, EPOCHS = 3, 5
_LEAST = 1e-9  # probability


def score_fine_tuned(photos: Photos, labels: Ints, units: Ints, weights: str, size: int) -> Floats:
    """Fine-tune `FOLDS` times on all but a part of the units; (N, classes) log-probabilities of each.

    Raises:
        InputError: there are too few photos for that.
    """
    scores = np.full((len(labels), len(photos.classes)), np.log(_LEAST))
    if (most := np.bincount(labels).max()) < FOLDS:
        raise InputError(
            f"--thorough trains {FOLDS} times without a part of the photos, and the largest class has "
            f"{most}; give at least {FOLDS} photos of a class, or leave --thorough out"
        )
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # a fold may lack one
        parts = list(folds.split(labels, labels, units))
    for number, (seen, held) in enumerate(parts, 1):
        say(f"fine-tuning {number} of {FOLDS} on {len(seen)} photos")
        with tempfile.TemporaryDirectory() as room:
            run = _train(photos, units, seen, Path(room), weights, size)
            bundle = read_bundle(run / BUNDLE)
            predictor = Predictor(bundle)
            places = [photos.classes.index(name) for name in bundle.spec.classes]
            for start in track(range(0, len(held), BATCH), "asking it"):
                part = held[start : start + BATCH]
                files = [photos.data / photos.rows[i].path for i in part]
                rows = predictor.predict([predictor.prepare(file.read_bytes()) for file in files])
                scores[np.ix_(part, places)] = np.log(np.maximum(rows, _LEAST))
    return scores


def _train(photos: Photos, units: Ints, seen: Ints, room: Path, weights: str, size: int) -> Path:
    """Train on links to the photos `seen`, in whose names their units are."""
    for i in seen.tolist():
        row = photos.rows[i]
        link = room / TRAIN / row.class_name / f"u{units[i]}_{i}{Path(row.path).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((photos.data / row.path).absolute())
    settings = TrainSettings(
        weights, size, EPOCHS, workers=0, group_regex=r"^(u\d+)_", logger="csv", patience=2
    )
    try:
        train(room, room / "run", settings)
    except InputError as error:
        raise InputError(f"--thorough can't train on a part of the photos ({error})") from error
    return room / "run"
