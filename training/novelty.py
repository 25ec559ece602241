"""The statistics of `model.novelty`: from features of training photos, measured on validation photos.

Where photos of no known class are given, they decide between ViM and Mahalanobis by the area under the
ROC curve; otherwise it is ViM, which was as good or better with three seeds (docs/experiments.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import roc_auc_score

from model.novelty import Novelty, shorten
from model.outputs import Rows
from report.intervals import Ints
from training.data.photos import Photo

SAMPLE = 1000  # training photos, at most: with all 1,630 of them strangers were told no better
DIMENSIONS = (
    256  # of the principal space, at most; a quarter of the photos, or features, if they are few
)
KNOWN = 500  # distances of held-out photos that are kept, at most
VIM, MAHALANOBIS = "ViM", "Mahalanobis"
_LEAST_SPREAD = 0.05  # of logarithms of distances, where photos are too few or too alike to say


@dataclass(frozen=True)
class NoveltyFit:
    """How the statistics came about.

    Attributes:
        kind: of the distance.
        dimensions: of the principal space.
        photos: of training that it was taken from.
        groups: of validation photos that distances are compared with.
        auroc: of each kind, on the strangers given; empty without any.
    """

    kind: str
    dimensions: int
    photos: int
    groups: int
    auroc: dict[str, float]


def sample(photos: Sequence[Photo], most: int = SAMPLE) -> list[Photo]:
    """Choose at most `most` photos, evenly over all of them and so over the classes."""
    places = np.linspace(0, len(photos) - 1, min(most, len(photos)))
    return [photos[i] for i in places.round().astype(int).tolist()]


def fit_novelty(
    trained: Rows, held_out: Rows, groups: Ints, strangers: Rows | None = None
) -> tuple[Novelty, NoveltyFit]:
    """Fit the statistics.

    Args:
        trained: (n, D) features of training photos.
        held_out: (m, D) features of validation photos.
        groups: (m,) number of each one's group.
        strangers: (s, D) features of photos of no known class, if there are any.
    """
    found = {}
    for kind, novelty in _distances(trained).items():
        known, width = _known(novelty, held_out, groups)
        found[kind] = Novelty(novelty.mean, novelty.basis, novelty.weights, known, width)
    auroc = {}
    if strangers is not None:
        truth = [0] * len(held_out) + [1] * len(strangers)
        for kind, novelty in found.items():
            distances = novelty.log_distances(np.concatenate([held_out, strangers]))
            auroc[kind] = float(roc_auc_score(truth, distances))
    kind = max(auroc, key=auroc.__getitem__, default=VIM)
    dimensions, count = found[kind].basis.shape[1], len(np.unique(groups))
    return found[kind], NoveltyFit(kind, dimensions, len(trained), count, auroc)


def _distances(trained: Rows) -> dict[str, Novelty]:
    """Both kinds, which nothing is known of yet."""
    centred = shorten(trained).astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))  # rising
    k = max(1, min(DIMENSIONS, *(n // 4 for n in trained.shape)))
    basis = np.ascontiguousarray(directions[:, : -k - 1 : -1], np.float32)
    # Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.
    shrinkage = ledoit_wolf_shrinkage(centred, assume_centered=True)
    shrunk = (1 - shrinkage) * variances[::-1] + shrinkage * variances.mean()
    precision = 1 / np.maximum([*shrunk[:k], shrunk[k:].mean()], np.finfo(np.float32).tiny)
    weights = {VIM: np.eye(k + 1)[-1], MAHALANOBIS: precision}
    one = np.ones(1, np.float32)
    return {
        kind: Novelty(mean.astype(np.float32), basis, w.astype(np.float32), one, one)
        for kind, w in weights.items()
    }


def _known(novelty: Novelty, held_out: Rows, groups: Ints) -> tuple[Rows, Rows]:
    """The distances of held-out photos, and the width with which they stand for other groups' photos.

    That is Silverman's for a normal kernel ("Density Estimation", 1986, section 3.4.2), of groups, as
    photos of one are alike; of the logistic curve with the same deviation.
    """
    known = np.sort(novelty.log_distances(held_out))
    if len(known) > KNOWN:
        known = np.quantile(known, (np.arange(KNOWN) + 0.5) / KNOWN).astype(np.float32)
    spread = max(_LEAST_SPREAD, float(known.std()))
    width = 1.06 * spread * len(np.unique(groups)) ** -0.2 * np.sqrt(3) / np.pi
    return known, np.array([width], np.float32)
