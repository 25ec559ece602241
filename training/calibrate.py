"""What a network's confidence is worth: the temperature and the threshold of "unknown".

Both are fitted on validation photos, which the weights weren't, and written into the bundle; the golden
answers are then given again, so that they are those of the calibrated model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from model.answers import UNKNOWN, as_probabilities
from model.bundle import Bundle, read_bundle, write_bundle
from model.calibration import Calibration, Rows
from model.errors import InputError, PhotoError
from model.files import read_json, reading
from model.golden import Golden
from model.image import RGB
from model.layout import TRAIN
from model.predictor import Predictor
from model.run_folder import find_bundle
from report.intervals import Ints
from report.progress import track
from training.data.photos import Photo, photos_named
from training.evaluation.answers import BATCH
from training.evaluation.measure import reliability
from training.fit.plan import find_data

MIN_PHOTOS = 100  # fewer say too little about a temperature
HOTTEST = 8.0


@dataclass(frozen=True)
class CalibrationFit:
    """What was fitted. The errors are expected calibration errors on `photos` photos."""

    temperature: float
    reject_below: float | None
    photos: int
    rejected: int  # of these photos, answered "unknown" from now on
    ece_before: float  # at temperature 1
    ece: float
    note: str  # why the temperature wasn't fitted; ""

    @property
    def calibration(self) -> Calibration:
        """As the bundle keeps it."""
        return Calibration(self.temperature, self.reject_below)


def calibrate(bundle: Path, photos: Sequence[Photo], reject_rate: float | None = None) -> CalibrationFit:
    """Calibrate the bundle in the folder `bundle` as `fit_calibration` says.

    It is replaced by one with another calibration and its own golden answers; figures of an evaluation
    are dropped, as they were of another model.
    """
    before = read_bundle(bundle)
    fit = fit_calibration(before, photos, reject_rate)
    made = replace(before.spec, calibration=fit.calibration)
    if made != before.spec:
        write_bundle(answer_golden(replace(before, spec=made)), bundle, replace=True)
    return fit


def fit_calibration(
    bundle: Bundle, photos: Sequence[Photo], reject_rate: float | None = None
) -> CalibrationFit:
    """Fit temperature and threshold of a bundle, which stays as it is.

    Args:
        bundle: its own calibration doesn't matter.
        photos: of validation, labelled as the bundle's classes are.
        reject_rate: share of them that may be answered "unknown"; None for no threshold.

    Raises:
        InputError: the rate is no share, or "unknown" is the name of a class.
    """
    if reject_rate is not None and not 0 <= reject_rate < 1:
        raise InputError(f"--reject-rate {reject_rate} must be a share from 0 to less than 1, say 0.02")
    if reject_rate is not None and UNKNOWN in bundle.spec.classes:
        raise InputError(
            f"--reject-rate needs the name {UNKNOWN!r} for what is no class, but it is one of "
            f"{list(bundle.spec.classes)}; rename that class"
        )
    raw = replace(bundle, spec=replace(bundle.spec, calibration=Calibration()))
    scores = _scores(Predictor(raw), photos)  # (N, classes)
    labels = np.array([photo.label for photo in photos], np.int64)
    temperature, note = fit_temperature(scores, labels)
    probabilities = Calibration(temperature).probabilities(scores).astype(np.float64)
    best = probabilities.max(axis=1)
    below = None if reject_rate is None else threshold(best, reject_rate)
    return CalibrationFit(
        temperature,
        below,
        len(photos),
        0 if below is None else int((best < below).sum()),
        reliability(np.exp(scores.astype(np.float64)), labels).ece,
        reliability(probabilities, labels).ece,
        note,
    )


def answer_golden(bundle: Bundle) -> Bundle:
    """Give the golden answers (again), those of the model as it is calibrated."""
    predictor = Predictor(bundle)

    def answer(golden: Golden) -> Golden:
        row = predictor.predict([predictor.prepare(golden.photo)])[0]
        return replace(golden, probabilities=as_probabilities(predictor.classes, row))

    return replace(bundle, golden=tuple(map(answer, bundle.golden)))


def recalibrate(run: Path, data: Path | None, reject_rate: float | None) -> CalibrationFit:
    """Calibrate a run's bundle on the validation photos that `run.json` lists.

    Args:
        run: folder of the run.
        data: folder it was trained on; None to take the one it names.
        reject_rate: as in `calibrate`.

    Raises:
        InputError: the run doesn't list them, or one isn't there (any more).
    """
    bundle = find_bundle(run)
    classes = read_bundle(bundle).spec.classes
    path, remedy = run / "run.json", "train again with this version"
    with reading(path, remedy):
        document = read_json(path, remedy=remedy)
        if not (names := document.get("validation_files")):
            raise InputError(f"{str(path)!r} doesn't list its validation files; {remedy}")
        _, folder = document.get("folders", (TRAIN, TRAIN))
        photos = photos_named((data or find_data(document, run)) / folder, classes, names)
    missing = [photo.path for photo in photos if not photo.path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the run's {len(photos)} validation photos aren't there, such as "
            f"{str(missing[0])!r}; give the folder it was trained on with --data"
        )
    return calibrate(bundle, photos, reject_rate)


def fit_temperature(scores: Rows, labels: Ints) -> tuple[float, str]:
    """Find the temperature from 1 on with the least negative log-likelihood (Guo et al., ICML 2017).

    One below 1 would raise confidences, on the word of photos that are at best as hard as those to come;
    where frames of one clip are in training and validation it made them worse (docs/experiments.md).

    Args:
        scores: (N, classes) log-probabilities.
        labels: (N,).

    Returns:
        The temperature, 1 where the photos can't tell, and in that case why.
    """
    if len(labels) < MIN_PHOTOS:
        return 1.0, f"not fitted: {len(labels)} validation photos are fewer than {MIN_PHOTOS}"
    if bool((scores.argmax(axis=1) == labels).all()):
        return 1.0, "not fitted: every validation photo is right, so no confidence would be too high"
    exact, targets = torch.from_numpy(scores).double(), torch.from_numpy(labels)

    def loss(log_temperature: float) -> float:
        cooled = torch.log_softmax(exact / np.exp(log_temperature), dim=1)
        return float(torch.nn.functional.nll_loss(cooled, targets))

    # Convex in 1 / temperature, so the one minimum is found, and at 1 it shows on which side that is.
    if loss(0.0) < loss(1e-3):
        return 1.0, "not below 1: validation photos, easier than later ones, would raise confidences"
    bounds = (0.0, float(np.log(HOTTEST)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)), ""


def threshold(best: "np.ndarray[tuple[int], np.dtype[np.float64]]", rate: float) -> float:
    """Find the confidence below which at most a share `rate` of (N,) best probabilities lies."""
    return float(np.sort(best)[int(rate * len(best))])


def _scores(predictor: Predictor, photos: Sequence[Photo]) -> Rows:
    """(N, classes) log-probabilities, without any temperature."""
    batches = [photos[i : i + BATCH] for i in range(0, len(photos), BATCH)]
    return np.concatenate(
        [
            predictor.scores([_prepare_photo(predictor, photo.path) for photo in batch])
            for batch in track(batches, "calibrating")
        ]
    )


def _prepare_photo(predictor: Predictor, path: Path) -> RGB:
    try:
        return predictor.prepare(path.read_bytes())
    except (PhotoError, OSError) as error:
        raise InputError(f"validation photo {str(path)!r} can't be read: {error}") from error
