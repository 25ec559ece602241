"""What a classifier says of each photo that has learned from all photos but those of its group.

Ridge regression on one-hot labels has that answer in closed form, exactly, without fitting once for each
group: with H = Z (Z'Z + lambda)^-1 Z', the answers for a group g that was left out are
(1 - H_gg)^-1 (fit_g - H_gg y_g) (Cook and Weisberg, "Residuals and Influence in Regression", 1982,
section 3.4.2, for one case; here for a block). So no seed of folds changes the ranking, and it costs one
decomposition and one product for all strengths lambda that are tried.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from report.intervals import Floats, Ints

STRENGTHS = (0.03, 0.1, 0.25, 0.5, 1.0)  # lambda over the number of photos
ROWS = 4096  # photos that are worked on at a time

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Basis:
    """Principal axes of the scaled features: (D,) means, deviations and eigenvalues, (D, D) axes."""

    mean: Floats
    deviation: Floats
    values: Floats  # sums of squares along the axes, ascending
    axes: Floats  # in columns

    def turn(self, features: Features) -> Floats:
        """(N, D) features -> (N, D) coordinates along the axes."""
        return np.asarray(((root(features) - self.mean) / self.deviation) @ self.axes)


def root(features: Features) -> Features:
    """Take square roots of pooled activations: a few large ones no longer outweigh the others.

    "Hellinger's kernel": Arandjelovic and Zisserman, CVPR 2012, section 2.
    """
    return np.sqrt(np.maximum(features, 0))


def find_axes(features: Features) -> Basis:
    """Decompose (N, D) features, in passes that hold `ROWS` of them."""
    count, width = features.shape
    mean, square = np.zeros(width), np.zeros((width, width))
    for rows in _slices(count):
        mean += root(features[rows]).sum(axis=0, dtype=np.float64)
    mean /= count
    for rows in _slices(count):
        centred = root(features[rows]) - mean
        square += centred.T @ centred
    deviation = np.sqrt(np.diag(square) / count) + 1e-6
    values, axes = np.linalg.eigh(square / np.outer(deviation, deviation))
    return Basis(mean, deviation, np.maximum(values, 0), axes)


def score_left_out(features: Features, basis: Basis, labels: Ints, groups: Ints) -> list[Floats]:
    """Score each photo's classes without its group, once for each of `STRENGTHS`.

    Args:
        features: (N, D).
        basis: of these features.
        labels: (N,) numbers of classes.
        groups: (N,) numbers of groups, from 0 without gaps; at least two.

    Returns:
        For each strength (N, classes) scores, about 1 for the class and 0 for others, less the share of
        photos that have that label.
    """
    wanted = np.eye(labels.max() + 1)[labels]
    wanted -= wanted.mean(axis=0)
    towards = np.zeros((len(basis.values), wanted.shape[1]))
    for rows in _slices(len(labels)):
        towards += basis.turn(features[rows]).T @ wanted[rows]
    shrunk = [1 / (basis.values + strength * len(labels)) for strength in STRENGTHS]
    scores = [np.empty_like(wanted) for _ in STRENGTHS]
    for members in _blocks(groups):
        photos = np.concatenate(members)
        turned = basis.turn(features[photos])  # (n, D)
        ends = np.cumsum([len(own) for own in members])[:-1]
        for shrink, out in zip(shrunk, scores, strict=True):
            fit, scaled = (turned * shrink) @ towards, turned * np.sqrt(shrink)
            parts = (np.split(part, ends) for part in (scaled, fit, wanted[photos]))
            out[photos] = np.concatenate([_leave_out(*part) for part in zip(*parts, strict=True)])
    return scores


def _leave_out(scaled: Floats, fit: Floats, wanted: Floats) -> Floats:
    """Take one group's (n, D) rows out of the fit that (n, classes) answers come from."""
    if len(scaled) <= scaled.shape[1]:
        hat = scaled @ scaled.T
        return np.asarray(np.linalg.solve(np.eye(len(hat)) - hat, fit - hat @ wanted))
    # More photos than features: the same by Woodbury's identity, in a matrix of the features' size.
    inner = np.eye(scaled.shape[1]) - scaled.T @ scaled
    rest = fit - scaled @ (scaled.T @ wanted)
    return np.asarray(rest + scaled @ np.linalg.solve(inner, scaled.T @ rest))


def _blocks(groups: Ints) -> Iterator[list[Ints]]:
    """Yield the members of each group, several groups of together about `ROWS` photos at a time."""
    order = np.argsort(groups, kind="stable")
    block: list[Ints] = []
    for members in np.split(order, np.cumsum(np.bincount(groups))[:-1]):
        if block and sum(map(len, block)) + len(members) > ROWS:
            yield block
            block = []
        block.append(members)
    yield block


def _slices(count: int) -> Sequence[slice]:
    return [slice(start, start + ROWS) for start in range(0, count, ROWS)]


def measure_strangeness(features: Features, basis: Basis, labels: Ints) -> Floats:
    """(N,) distance of each photo from the nearest class, squared, in deviations of all photos.

    Mahalanobis distances with one shrunk covariance (Lee et al., NeurIPS 2018), below about 1.
    """
    shrink = 1 / (basis.values + STRENGTHS[1] * len(labels))
    centres = np.zeros((labels.max() + 1, len(shrink)))
    for rows in _slices(len(labels)):
        np.add.at(centres, labels[rows], basis.turn(features[rows]))
    centres /= np.maximum(np.bincount(labels), 1)[:, None]
    found = np.empty(len(labels))
    for rows in _slices(len(labels)):
        turned = basis.turn(features[rows])  # (n, D)
        across = (turned * shrink) @ centres.T  # (n, classes)
        inner, outer = (turned**2) @ shrink, (centres**2) @ shrink
        found[rows] = (inner[:, None] - 2 * across + outer).min(axis=1)
    return found
