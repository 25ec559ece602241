"""The range test: what is read from a curve, whatever luck has made of it."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import FlyobjError
from training.fit.loaders import Batch
from training.fit.lr_finder import (
    BELOW,
    DEFAULT,
    HIGHEST,
    LEAST,
    LOWEST,
    MOST,
    STEPS,
    Curve,
    range_test,
    write_curve,
)

BATCHES = [Batch(torch.zeros(0), torch.zeros(0))]
LRS = tuple(LOWEST * (HIGHEST / LOWEST) ** (n / (STEPS - 1)) for n in range(STEPS))


def valley(lr: float) -> float:
    """Flat, then down to its lowest at 1e-3, then up steeply."""
    return 1 + (math.log10(lr) + 3) ** 2 / 4 if lr < 1e-3 else 1 + 100 * (lr - 1e-3)


def curve_of(
    loss: float | np.ndarray[tuple[int], np.dtype[np.float64]], hardness: object = 0.0
) -> Curve:
    """A test of these losses, of batches that are so much harder than others."""
    own = np.broadcast_to(np.asarray(hardness, float), STEPS)
    steps, starts = iter(np.broadcast_to(loss, STEPS) + own), iter(1.6 + own)
    return range_test(lambda *_: float(next(steps)), lambda _: float(next(starts)), BATCHES)


def test_a_fifth_of_the_highest_rate_that_is_not_worse() -> None:
    curve = curve_of(np.array([valley(lr) for lr in LRS]))
    assert curve.lrs[0] == LOWEST
    assert curve.diverged
    assert len(curve.lrs) < STEPS  # it has stopped where the loss diverged
    assert curve.highest == pytest.approx(3e-3, rel=0.6)
    assert curve.suggestion == pytest.approx(curve.highest / BELOW, rel=0.05)


@pytest.mark.parametrize("seed", range(10))
def test_easy_and_hard_batches_move_nothing(seed: int) -> None:
    losses = np.array([valley(lr) for lr in LRS])
    hardness = np.random.default_rng(seed).normal(0, 0.4, STEPS)
    hardness[0] = -0.8  # the first batch is easy
    assert curve_of(losses, hardness).suggestion == curve_of(losses).suggestion


LUCKY = (  # of a real run: of 23 steps, the first was a batch much easier than all the others
    *(0.348, 0.786, 0.986, 0.866, 0.947, 0.491, 0.939, 0.932, 0.645, 0.594, 0.584, 0.321),
    *(0.719, 0.372, 0.554, 0.510, 0.985, 0.503, 0.887, 1.034, 1.094, 0.928, 0.909),
)


def test_a_lucky_first_batch_gives_a_usable_rate_even_uncompared() -> None:
    """Where nothing is known of the batches before the test, as in tables of earlier versions."""
    lrs = tuple(3e-5 * (1 / 3e-5) ** (n / 35) for n in range(23))
    assert 3e-4 <= Curve(lrs, LUCKY, (0.0,) * 23).suggestion <= 1.2e-3


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("loss", [1.4, 1e-6])
def test_a_flat_curve_says_nothing_and_the_default_is_taken(loss: float, noise: float) -> None:
    own = np.random.default_rng(1).normal(0, noise * loss, STEPS)
    curve = curve_of(loss + own)
    assert (curve.highest, curve.suggestion) == (None, DEFAULT)
    assert "the default 0.001 is taken" in curve.words


def test_one_that_only_falls_says_nothing_either() -> None:
    assert curve_of(np.linspace(1.6, 0.2, STEPS)).suggestion == DEFAULT


@pytest.mark.parametrize("seed", range(20))
def test_noise_that_drowns_the_course_leaves_a_sensible_rate(seed: int) -> None:
    losses = np.array([min(valley(lr), 4) for lr in LRS])
    curve = curve_of(losses + np.random.default_rng(seed).normal(0, 0.5, STEPS))
    assert 2e-4 < curve.suggestion <= MOST


def test_a_loss_that_rises_soon_gets_the_lowest_rate_that_is_sensible() -> None:
    curve = curve_of(np.array([0.2 + 400 * max(lr - 6e-4, 0) for lr in LRS]))
    assert curve.highest is not None
    assert LEAST < curve.highest < 5 * LEAST
    assert curve.suggestion == LEAST
    assert "nearest to a fifth of that from 0.0003 to 0.002" in curve.words


def test_one_that_rises_from_the_first_steps_on_gets_none_that_was_too_high() -> None:
    curve = curve_of(1.6 * 1.4 ** np.arange(STEPS))
    assert curve.diverged
    assert curve.highest is not None
    assert curve.suggestion == pytest.approx(curve.highest, rel=0.05)
    assert curve.suggestion < LEAST
    assert "from the first steps on" in curve.words


def test_one_that_falls_steeply_gets_the_highest_that_is_sensible() -> None:
    curve = curve_of(np.array([1.6 if lr < 1e-2 else 0.2 if lr < 0.3 else 9.0 for lr in LRS]))
    assert curve.suggestion == MOST


def test_a_loss_that_is_no_number_ends_it() -> None:
    curve = curve_of(np.array([1 - lr if lr < 1e-2 else math.nan for lr in LRS]))
    assert 5e-3 < max(curve.lrs) < 1e-2
    assert curve.highest == curve.lrs[-1]
    assert curve.suggestion == pytest.approx(curve.highest / BELOW, rel=0.05)
    at_once = curve_of(np.array([1.6, *[math.inf] * (STEPS - 1)]))
    assert (len(at_once.lrs), at_once.suggestion) == (1, LOWEST)


def test_broken_weights_are_told_before_anything_is_learned() -> None:
    with pytest.raises(FlyobjError, match="the loss is nan before anything was learned"):
        range_test(lambda *_: math.nan, lambda _: math.nan, BATCHES)


def test_the_curve_is_written_and_drawn(tmp_path: Path) -> None:
    curve = Curve((1e-5, 1e-4, 1e-3), (3.0, 2.0, 4.0), (3.0, 2.5, 3.2))
    write_curve(curve, "head", tmp_path)
    with (tmp_path / "range_test-head.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == [1e-5, 1e-4, 1e-3]
    assert [float(row["loss"]) for row in rows] == [3.0, 2.0, 4.0]
    assert [float(row["start_loss"]) for row in rows] == [3.0, 2.5, 3.2]
    assert [float(row["smooth"]) for row in rows] == pytest.approx(list(curve.smooth))
    assert (tmp_path / "range_test-head.png").stat().st_size > 5000
