"""The range test: what is read from a curve, and that nothing is left of it."""

import csv
import math
from pathlib import Path

import pytest
import torch

from model.errors import FlyobjError
from training.fit.loaders import Batch
from training.fit.lr_finder import HIGHEST, LOWEST, STEPS, Curve, range_test, write_curve

BATCHES = [Batch(torch.zeros(0), torch.zeros(0))]


def valley(_: Batch, lr: float) -> float:
    """Flat, then down to its lowest at 1e-2, then up steeply."""
    return 1 + (math.log10(lr) + 2) ** 2 / 4 if lr < 1e-2 else 1 + 500 * (lr - 1e-2)


def test_the_rate_is_a_tenth_of_the_highest_that_is_not_worse() -> None:
    curve = range_test(valley, BATCHES)
    assert curve.lrs[0] == LOWEST
    assert len(curve.lrs) < STEPS  # it has stopped where the loss diverged
    at = curve.lrs.index(curve.highest)
    lowest = min(curve.smooth)
    assert curve.smooth[at] <= 1.25 * lowest < curve.smooth[at + 1]
    assert 1e-2 < curve.highest < 3e-2
    assert curve.suggestion == pytest.approx(curve.highest / 10, rel=0.05)


def test_a_bump_or_a_lucky_batch_on_the_way_changes_nothing() -> None:
    smooth = (2.0, 1.0, 2.4, 1.2, 1.1, 1.6, 1.7, 3.0)
    lrs = tuple(10.0 ** (n - 8) for n in range(8))
    assert Curve(lrs, smooth, smooth).highest == lrs[4]


def test_all_steps_are_taken_if_nothing_diverges() -> None:
    curve = range_test(lambda _, lr: 1 - lr / 10, BATCHES)
    assert len(curve.lrs) == STEPS
    assert curve.lrs[-1] == curve.highest == pytest.approx(HIGHEST)
    assert curve.suggestion == 0.1


def test_a_loss_that_is_no_number_ends_it() -> None:
    curve = range_test(lambda _, lr: 1 - lr if lr < 1e-2 else math.nan, BATCHES)
    assert max(curve.lrs) < 1e-2
    with pytest.raises(FlyobjError, match="diverged already at a learning rate of 3e-05"):
        range_test(lambda *_: math.nan, BATCHES)


def test_the_curve_is_written_and_drawn(tmp_path: Path) -> None:
    curve = Curve((1e-5, 1e-4, 1e-3), (3.0, 2.0, 4.0), (3.0, 2.5, 3.2))
    write_curve(curve, "head", tmp_path)
    with (tmp_path / "range_test-head.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in rows] == [1e-5, 1e-4, 1e-3]
    assert [float(row["loss"]) for row in rows] == [3.0, 2.0, 4.0]
    assert (tmp_path / "range_test-head.png").stat().st_size > 5000
