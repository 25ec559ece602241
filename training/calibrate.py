"""What a network's confidence is worth, and how strange a photo is: temperature and novelty.

Both come from validation photos, which the weights didn't, and are written into the bundle; the golden
answers are then given again, so that they are those of the calibrated model. Novelty takes features of
training photos too; "unknown" is a photo whose novelty is below the rate asked for.

The temperature with the least loss on the validation photos (Guo et al., ICML 2017) is that of the few
groups that the network was most wrong about, and goes too far for others. So it is taken to the power of
groups / (groups + `HALFWAY`), and only if it lowers the loss of groups that it was fitted without,
beyond chance; otherwise it is 1. docs/experiments.md has the rules compared.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from model.answers import UNKNOWN, as_probabilities
from model.bundle import Bundle, read_bundle, write_bundle
from model.calibration import Calibration
from model.errors import InputError, PhotoError
from model.files import read_json, reading, write_json
from model.golden import Golden
from model.layout import TRAIN
from model.limits import RGB
from model.outputs import Rows
from model.predictor import Predictor
from model.run_folder import find_bundle
from report.intervals import Floats, Interval, Ints, mean_interval, sum_groups
from report.progress import track
from training.data.photo_groups import number_groups
from training.data.photos import Photo, list_unknown, photos_named
from training.evaluation.answers import BATCH
from training.evaluation.measure import reliability
from training.fit.plan import find_data
from training.novelty import NoveltyFit, fit_novelty, sample

MIN_PHOTOS = 100  # fewer say too little about a temperature
HOTTEST = 8.0
HALFWAY = 40  # groups with which half of the fit is taken
FOLDS = 20  # at most, of groups that a temperature is fitted without
CHANCE = 0.1  # the gain's interval leaves out half of it below, so it's wrongly kept in 1 of 20 cases


@dataclass(frozen=True)
class Temperature:
    """What came of fitting a temperature on validation photos.

    Attributes:
        temperature: that is kept; 1 changes nothing.
        tried: the one that was kept or wasn't; 1 if none was.
        groups: that the photos are of.
        ece_before: expected calibration error at temperature 1.
        ece: the same of each group at the temperature tried without that group.
        nll_before: mean negative log-likelihood at temperature 1.
        nll: the same of each group at the temperature tried without that group.
        gain_90: 90 % interval of `nll_before` less `nll`, over groups; None where none was tried.
        note: whether and why it was kept.
    """

    temperature: float
    tried: float
    groups: int
    ece_before: float
    ece: float
    nll_before: float
    nll: float
    gain_90: Interval | None
    note: str


@dataclass(frozen=True)
class CalibrationFit(Temperature):
    """Temperature and novelty that were fitted, on `photos` photos; older runs have no novelty."""

    photos: int
    rejected: int  # of these photos, answered "unknown" from now on
    reject_below: float | None = None  # of older runs, a confidence
    reject_rate: float | None = None
    novelty: NoveltyFit | None = None


def calibrate(
    bundle: Bundle,
    photos: Sequence[Photo],
    groups: Ints,
    trained: Sequence[Photo] = (),
    reject_rate: float | None = None,
    unknown: Path | None = None,
) -> tuple[Bundle, CalibrationFit]:
    """Fit temperature and novelty of a bundle, and give its golden answers (again).

    Args:
        bundle: its own calibration doesn't matter.
        photos: of validation, labelled as the bundle's classes are.
        groups: (photos,) number of each one's group.
        trained: photos it was trained on, for its novelty; without any it gets none.
        reject_rate: share of known photos that may be answered "unknown"; None to name a class always.
        unknown: folder of photos of no known class, which choose the kind of novelty.

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
    strangers = list_unknown(unknown)[1] if unknown else []
    predictor = Predictor(bundle)
    scores, features = _outputs(predictor, [photo.path for photo in photos], "calibrating")
    labels = np.array([photo.label for photo in photos], np.int64)
    found, novelty, kind, rejected = fit_temperature(scores, labels, groups), None, None, 0
    if trained:
        _, known = _outputs(predictor, [p.path for p in sample(trained)], "learning what is known")
        others = _outputs(predictor, strangers, "comparing what isn't")[1] if strangers else None
        novelty, kind = fit_novelty(known, features, groups, others)
        rejected = int((novelty.of(features) < (reject_rate or 0)).sum())
    fit = CalibrationFit(
        **vars(found), photos=len(photos), rejected=rejected, reject_rate=reject_rate, novelty=kind
    )
    spec = replace(bundle.spec, calibration=Calibration(found.temperature, reject_rate=reject_rate))
    return answer_golden(replace(bundle, spec=spec, novelty=novelty)), fit


def answer_golden(bundle: Bundle) -> Bundle:
    """Give the golden answers (again), those of the model as it is calibrated."""
    predictor = Predictor(bundle)

    def answer(golden: Golden) -> Golden:
        (found,) = predictor.answer([predictor.prepare(golden.photo)])
        probabilities = as_probabilities(predictor.classes, found.row)
        return replace(golden, probabilities=probabilities, novelty=found.novelty)

    return replace(bundle, golden=tuple(map(answer, bundle.golden)))


def recalibrate(
    run: Path, data: Path | None, reject_rate: float | None, unknown: Path | None = None
) -> CalibrationFit:
    """Calibrate a run's bundle on the photos that `run.json` lists, and write so there.

    The bundle is replaced by one with another calibration and its own golden answers; figures of an
    evaluation are dropped, as they were of another model.

    Args:
        run: folder of the run.
        data: folder it was trained on; None to take the one it names.
        reject_rate: as in `calibrate`.
        unknown: as there.

    Raises:
        InputError: the run doesn't list them, or one isn't there (any more).
    """
    bundle = find_bundle(run)
    before = read_bundle(bundle)
    path, remedy = run / "run.json", "train again with this version"
    with reading(path, remedy):
        document = read_json(path, remedy=remedy)
        photos, groups, trained = held_out(document, run, before.spec.classes, data, remedy)
    made, fit = calibrate(before, photos, groups, trained, reject_rate, unknown)
    if (made.spec, made.golden) != (before.spec, before.golden):
        write_bundle(made, bundle, replace=True)
    write_json({**document, "calibration": asdict(fit)}, path)
    return fit


def held_out(
    document: dict[str, Any], run: Path, classes: Sequence[str], data: Path | None, remedy: str
) -> tuple[tuple[Photo, ...], Ints, tuple[Photo, ...]]:
    """A run's validation photos, the number of each one's group, and its training photos."""
    if not (names := document.get("validation_files")):
        raise InputError(f"{str(run / 'run.json')!r} doesn't list its validation files; {remedy}")
    if document.get("refit"):
        raise InputError(
            f"{str(run)!r} has learned from its validation photos too (--refit), so they can't "
            "tell what it or its confidence is worth; train without --refit for that"
        )
    train, validation = document.get("folders", (TRAIN, TRAIN))
    place = data or find_data(document, run)
    photos = photos_named(place / validation, classes, names)
    rest = photos_named(place / train, classes, document.get("train_files", ()))
    if missing := [photo.path for photo in (*photos, *rest) if not photo.path.is_file()]:
        raise InputError(
            f"{len(missing)} of the run's {len(photos) + len(rest)} photos aren't there, such as "
            f"{str(missing[0])!r}; give the folder it was trained on with --data"
        )
    if len(numbers := document.get("validation_groups", ())) == len(photos):
        return photos, np.array(numbers, np.int64), rest
    regex = (document.get("settings") or {}).get("group_regex")
    return photos, number_groups((*photos, *rest), place, regex)[0][: len(photos)], rest


def fit_temperature(scores: Rows, labels: Ints, groups: Ints) -> Temperature:
    """Find a temperature from 1 on, and whether it is better than 1 beyond chance.

    One below 1 would raise confidences, on the word of photos that are at best as hard as those to come;
    where frames of one clip are in training and validation it made them worse (docs/experiments.md).

    Args:
        scores: (N, classes) log-probabilities.
        labels: (N,).
        groups: (N,) number of each photo's group; photos of a group are right or wrong together.
    """
    _, groups = np.unique(groups, return_inverse=True)
    count = int(groups.max()) + 1
    before = reliability(np.exp(scores.astype(np.float64)), labels)

    def stay(why: str) -> Temperature:
        figures = before.ece, before.ece, before.nll, before.nll
        return Temperature(1.0, 1.0, count, *figures, None, why)

    if len(labels) < MIN_PHOTOS:
        return stay(f"not fitted: {len(labels)} validation photos are fewer than {MIN_PHOTOS}")
    if count < 2:
        return stay("not fitted: all validation photos are of one group")
    if bool((scores.argmax(axis=1) == labels).all()):
        return stay("not fitted: every validation photo is right, so no confidence would be too high")
    part = count / (count + HALFWAY)
    tried = _best_temperature(scores, labels) ** part
    if tried == 1:
        return stay("not below 1: validation photos, easier than later ones, would raise confidences")
    without = np.ones(len(labels))
    for fold in range(min(FOLDS, count)):
        own = groups % min(FOLDS, count) == fold
        without[own] = _best_temperature(scores[~own], labels[~own]) ** part
    after = reliability(np.exp(log_softmax(scores / without[:, None], axis=1)), labels)
    gain = _losses(scores, labels, np.ones(1)) - _losses(scores, labels, without)
    interval = mean_interval(*sum_groups(gain, groups), alpha=CHANCE)
    kept = interval[0] > 0
    note = (
        f"{'kept' if kept else 'not kept'}: the negative log-likelihood of groups that {tried:.3f} was "
        f"fitted without goes from {before.nll:.3f} to {after.nll:.3f} (90 % of the gain: "
        f"{interval[0]:.3f} to {interval[1]:.3f}, over {count} groups)"
    )
    figures = before.ece, after.ece, before.nll, after.nll
    return Temperature(tried if kept else 1.0, tried, count, *figures, interval, note)


def _best_temperature(scores: Rows, labels: Ints) -> float:
    """The temperature from 1 on with the least negative log-likelihood."""

    def loss(log_temperature: float) -> float:
        return float(_losses(scores, labels, np.exp([log_temperature])).mean())

    # Convex in 1 / temperature, so the one minimum is found, and at 1 it shows on which side that is.
    if loss(0.0) < loss(1e-3):
        return 1.0
    bounds = (0.0, float(np.log(HOTTEST)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def _losses(scores: Rows, labels: Ints, temperatures: Floats) -> Floats:
    """(N,) negative log-likelihoods at (N,) temperatures, or at (1,) for all."""
    cooled = log_softmax(scores.astype(np.float64) / temperatures[:, None], axis=1)
    return -np.asarray(cooled[np.arange(len(labels)), labels])


def _outputs(predictor: Predictor, photos: Sequence[Path], what: str) -> tuple[Rows, Rows]:
    """(N, classes) log-probabilities, without any temperature, and (N, 1280) features."""
    found = []
    for start in track(range(0, len(photos), BATCH), what):
        pixels = [_prepare_photo(predictor, path) for path in photos[start : start + BATCH]]
        found.append(predictor.outputs(pixels)[:2])
    scores, features = (np.concatenate(column) for column in zip(*found, strict=True))
    return scores, features


def _prepare_photo(predictor: Predictor, path: Path) -> RGB:
    try:
        return predictor.prepare(path.read_bytes())
    except (PhotoError, OSError) as error:
        raise InputError(f"photo {str(path)!r} can't be read: {error}") from error
