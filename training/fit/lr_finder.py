"""Learning-rate range test: it rises from step to step, and the loss tells which one to take.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3: take one below
that at which training gets worse again. On few steps that is hard to see, as one batch is easier than
the next. So each batch's loss is compared with what the weights from before the test make of the same
batch (a control variate), which leaves what the learning rate did. Rule, on the mean over five steps:

- the highest learning rate at which that loss was within a quarter of its lowest, or within its noise if
  that is more; a fifth of it is taken, at most 2e-3 and at least 3e-4 or it itself, if that is less;
- where the loss never gets worse, up to a learning rate of 1, it says nothing, and 1e-3 is taken.

docs/experiments.md has the rules that were compared. Lightning's `Tuner.lr_find` restores weights, but
not the state of the random number generators.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import FlyobjError
from report.charts import BLUE, GREEN, GREY, PALE, Axes, mark, panels, save_png, scale_log
from report.tables import write_csv
from training.fit.loaders import Batch

Floats = npt.NDArray[np.float64]

LOWEST, HIGHEST = 3e-5, 1.0  # learning rates that are tried
STEPS = 24  # five a decade
FEWEST = 5  # steps before it may end for a loss that has diverged
DIVERGED = 3.0  # times the lowest loss, and
WORSE = 1.5  # times the loss before the test: then it ends
STILL_LOW = 1.25  # times the lowest loss: still not too high
BELOW = 5.0  # what the highest of those is divided by
LEAST, DEFAULT, MOST = 3e-4, 1e-3, 2e-3  # of AdamW; the runs of docs/experiments.md were best between
_WEIGHTS = np.array([1, 2, 3, 2, 1], np.float64)  # of a step and its two neighbours on either side
_NOISE = math.sqrt(float((_WEIGHTS**2).sum())) / float(_WEIGHTS.sum())  # of their mean, over one step's


@dataclass(frozen=True)
class Curve:
    """The test's course: learning rates, the loss at each, and of the same batches before the test."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    start_losses: tuple[float, ...]
    diverged: bool = False  # it ended as the loss got too high, or was no number

    @cached_property
    def smooth(self) -> Floats:
        """(steps,) losses, each batch made as hard as the mean one, averaged over five steps."""
        start = np.array(self.start_losses)
        return _smooth(np.array(self.losses) - start + start.mean())

    @property
    def highest(self) -> float | None:
        """The last learning rate that wasn't too high; None if none was."""
        lowest = float(self.smooth.min())
        low = lowest + max((STILL_LOW - 1) * lowest, 2 * self._noise)
        at = int(np.flatnonzero(self.smooth <= low)[-1])
        return self.lrs[at] if self.diverged or at < len(self.lrs) - 1 else None

    @property
    def suggestion(self) -> float:
        """The learning rate to take, to two digits."""
        lr = DEFAULT
        if self.highest is not None:
            lr = min(MOST, max(self.highest / BELOW, min(LEAST, self.highest)))
        return float(f"{lr:.1e}")

    @property
    def words(self) -> str:
        """What the test has found, for people."""
        if self.highest is None:
            return f"the loss never got worse, so it says nothing: the default {DEFAULT:g} is taken"
        found = f"learning rate {self.suggestion:.1e}, the loss gets worse after {self.highest:.1e}"
        if LEAST <= self.highest / BELOW <= MOST:
            return found
        if self.highest < LEAST:
            return f"{found}, from the first steps on"
        return f"{found}; taken is what is nearest to a fifth of that from {LEAST:g} to {MOST:g}"

    @property
    def _noise(self) -> float:
        """Standard error of `smooth`, from the median distance of the single steps."""
        start = np.array(self.start_losses)
        apart = np.abs(np.array(self.losses) - start + start.mean() - self.smooth)
        return 1.4826 * float(np.median(apart)) * _NOISE


def range_test(
    step: Callable[[Batch, float], float],
    start_loss: Callable[[Batch], float],
    batches: Iterable[Batch],
    steps: Iterable[int] = range(STEPS),
) -> Curve:
    """Call `step` with a batch and a rising learning rate until the loss it returns diverges.

    Args:
        step: trains on the batch and returns its loss before that.
        start_loss: returns the batch's loss for the weights from before the test.
        batches: repeated if they are too few.
        steps: `range(STEPS)`, which may show how far it is.

    Raises:
        FlyobjError: the loss is no number even before the test.
    """
    lrs: list[float] = []
    losses: list[float] = []
    starts: list[float] = []
    for number, batch in zip(steps, chain.from_iterable(repeat(batches)), strict=False):
        lr = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        loss, start = step(batch, lr), start_loss(batch)
        if not math.isfinite(start):
            raise FlyobjError(
                f"the loss is {start} before anything was learned; check the photos and the weights"
            )
        if not math.isfinite(loss):
            break
        lrs.append(lr)
        losses.append(loss)
        starts.append(start)
        if number >= FEWEST:
            curve = Curve(tuple(lrs), tuple(losses), tuple(starts))
            last, before = float(curve.smooth[-1]), float(np.mean(starts))
            if last > max(DIVERGED * float(curve.smooth.min()), WORSE * before):
                break
    else:
        return Curve(tuple(lrs), tuple(losses), tuple(starts))
    return Curve(tuple(lrs), tuple(losses), tuple(starts), diverged=True)


def _smooth(losses: Floats) -> Floats:
    """Average each with its neighbours; at the ends there are fewer."""
    reach = len(_WEIGHTS) // 2
    sums = np.convolve(losses, _WEIGHTS)[reach:-reach]
    return np.asarray(sums / np.convolve(np.ones(len(losses)), _WEIGHTS)[reach:-reach])


def write_curve(curve: Curve, stage: str, folder: Path) -> None:
    """Write `range_test-STAGE.csv` and the picture of it."""
    rows = zip(curve.lrs, curve.losses, curve.start_losses, curve.smooth.tolist(), strict=True)
    write_csv(folder / f"range_test-{stage}.csv", ("lr", "loss", "start_loss", "smooth"), rows)
    figure, (axes,) = panels((6, 3.6))
    axes.plot(curve.lrs, curve.smooth, color=PALE, label="smoothed, as of equally hard batches")
    if curve.highest is not None:
        axes.axvline(curve.highest, color=GREY, ls=":", label=f"worse after {curve.highest:.1e}")
    draw_losses(axes, curve.lrs, curve.losses, curve.suggestion)
    axes.set(title=f"range test of stage {stage!r}", ylabel="training loss")
    axes.legend()
    save_png(figure, folder / f"range_test-{stage}.png")


def draw_losses(axes: Axes, lrs: Sequence[float], losses: Sequence[float], lr: float | None) -> None:
    """Draw the loss at each learning rate, and mark the one that was taken."""
    axes.plot(lrs, losses, color=BLUE, label="each step")
    if lr:
        mark(axes, "x", lr, f"{lr:.2g}", GREEN)
    if finite := [loss for loss in losses if math.isfinite(loss)]:
        low, drop = min(finite), finite[0] - min(finite) + 1e-6
        axes.set_ylim(low - 0.15 * drop, finite[0] + 0.6 * drop)  # the end would flatten the rest
    axes.set(xlabel="learning rate")
    scale_log(axes, "x", at_most=6)
    axes.grid(axis="y")
