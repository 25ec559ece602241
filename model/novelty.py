"""How strange a photo is to the model: how far its features lie from those of training. NumPy only.

One form holds both methods that `training.novelty` chooses from: a distance along each of the
directions in which training features vary most, and one for all that is left.

    ViM          what is left alone (Wang et al., "ViM: Out-Of-Distribution with Virtual-logit
                 Matching", CVPR 2022, without its logits)
    Mahalanobis  all, each by its variance (Lee et al., "A Simple Unified Framework for Detecting
                 Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018, with one mean)

Features are first divided by the root of their length: as they are, vivid photos look strange, and of
length one, faint strangers look known (docs/experiments.md).
"""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import InputError
from model.files import first_line
from model.outputs import Rows

_FILE = "novelty.safetensors"  # in a bundle; older ones have none
# Of the features' length: distances below it count alike. Engines agree to a thousandth of that; photos
# are no further apart to a network that has hardly learned anything yet.
_SAME = 1e-3


@dataclass(frozen=True)
class Novelty:
    """Statistics of training features, and what distances known photos have.

    Attributes:
        mean: (D,) of the features, shortened.
        basis: (D, k) directions in which they vary most, orthonormal.
        weights: (k + 1,) of the squared distance along each, and of what is left.
        known: (m,) logarithms of the distances of photos that weren't trained on, sorted.
        width: (1,) of the logistic curve that each of these stands for.
    """

    mean: Rows
    basis: Rows
    weights: Rows
    known: Rows
    width: Rows

    def __post_init__(self) -> None:
        """Refuse what doesn't fit together."""
        size, count = self.basis.shape if self.basis.ndim == 2 else (0, 0)
        shapes = [part.shape for part in (self.mean, self.weights, self.width)]
        parts = [getattr(self, f.name) for f in fields(self)]
        if shapes != [(size,), (count + 1,), (1,)] or self.known.ndim != 1 or not self.known.size:
            raise InputError(f"shapes {[part.shape for part in parts]} don't belong together")
        if not all(np.isfinite(part).all() for part in parts) or self.width[0] <= 0:
            raise InputError("numbers that are infinite, or a width that isn't above 0")

    def log_distances(self, features: Rows) -> Rows:
        """(N, D) features -> (N,) logarithms of their distances from training's."""
        # In 64 bits: what is left may be a thousandth of the whole that it is the difference of.
        away = shorten(features).astype(np.float64) - self.mean
        along = np.square(away @ self._directions)
        left = np.square(away).sum(axis=1) - along.sum(axis=1)
        distances = along @ self.weights[:-1] + self.weights[-1] * np.maximum(left, 0)
        least = _SAME**2 * np.square(self.mean).sum() * self.weights.max()
        return np.asarray(np.log(distances + max(least, np.finfo(np.float32).tiny)), np.float32)

    @cached_property
    def _directions(self) -> npt.NDArray[np.float64]:
        return self.basis.astype(np.float64)

    def of(self, features: Rows) -> Rows:
        """(N, D) features -> (N,) shares of known photos that look at least as strange, 0 to 1.

        A smooth curve through the known photos: so it goes on falling beyond the strangest of them.
        """
        further = (self.known - self.log_distances(features)[:, None]) / self.width  # (N, m)
        return np.asarray(np.exp(-np.logaddexp(0, -further)).mean(axis=1), np.float32)


def shorten(features: Rows) -> Rows:
    """(N, D) features -> each divided by the root of its length."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.sqrt(np.maximum(lengths, np.finfo(np.float32).tiny)), np.float32)


def write_novelty(novelty: Novelty | None, bundle: Path) -> None:
    """Write the statistics into the folder of a bundle, if there are any."""
    from safetensors.numpy import save

    if novelty:
        parts = {f.name: np.ascontiguousarray(getattr(novelty, f.name)) for f in fields(novelty)}
        (bundle / _FILE).write_bytes(save(parts))


def read_novelty(bundle: Path) -> Novelty | None:
    """Read the statistics of a bundle; None of an older one, which has none.

    Raises:
        InputError: they are damaged.
    """
    path = bundle / _FILE
    if not path.is_file():
        return None
    from safetensors.numpy import load_file

    try:
        return Novelty(**load_file(path))
    except Exception as error:  # of the file, or of what is in it
        raise InputError(
            f"{str(path)!r} doesn't hold what a model's novelty needs ({first_line(error)}); "
            "train or package it again"
        ) from error
