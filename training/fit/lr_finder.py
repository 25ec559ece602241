"""Learning-rate range test: it rises from step to step, and the loss tells which one to take.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3: take one below
that at which training gets worse again. On a curve of few steps it is a matter of chance where the
loss was lowest, or fell most steeply; the highest at which it was still about as low isn't. A
tenth of that one is taken (docs/experiments.md has the rules that were compared). Lightning's
`Tuner.lr_find` restores weights, but not the state of the random number generators.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from model.errors import FlyobjError
from report.charts import BLUE, GREEN, GREY, PALE, Axes, mark, panels, save_png, scale_log
from report.tables import write_csv
from training.fit.loaders import Batch

LOWEST, HIGHEST = 3e-5, 1.0
STEPS = 36  # eight a decade
FEWEST = 8  # steps from which one is taken
SMOOTHING = 0.8  # weight of the past in the moving average of the loss
DIVERGED = 3.0  # times the lowest loss: the test ends
STILL_LOW = 1.25  # times the lowest loss: still not too high
BELOW = 10.0  # what the highest of those is divided by


@dataclass(frozen=True)
class Curve:
    """The test's course: learning rates, the loss at each, smoothed, and what is read from them."""

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]

    @property
    def suggestion(self) -> float:
        """A tenth of the highest learning rate that isn't too high, to two digits."""
        return float(f"{self.highest / BELOW:.1e}")

    @property
    def highest(self) -> float:
        """The last learning rate at which the smoothed loss was at most a quarter above its lowest."""
        low = STILL_LOW * min(self.smooth)
        return max(lr for lr, loss in zip(self.lrs, self.smooth, strict=True) if loss <= low)


def range_test(step: Callable[[Batch, float], float], batches: Iterable[Batch]) -> Curve:
    """Call `step` with a batch and a rising learning rate until the loss it returns diverges.

    Raises:
        FlyobjError: it diverges before one can be chosen.
    """
    lrs: list[float] = []
    losses: list[float] = []
    smooth: list[float] = []
    average = 0.0
    for number, batch in zip(range(STEPS), chain.from_iterable(repeat(batches)), strict=False):
        lr = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        loss = step(batch, lr)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        corrected = average / (1 - SMOOTHING ** (number + 1))  # as Adam corrects its averages
        if not math.isfinite(loss) or (number >= FEWEST and corrected > DIVERGED * min(smooth)):
            break
        lrs.append(lr)
        losses.append(loss)
        smooth.append(corrected)
    if len(lrs) < FEWEST:
        raise FlyobjError(
            f"the range test's loss diverged already at a learning rate of {lr:g}; check the weights, "
            f"or give a lower one with --lr"
        )
    return Curve(tuple(lrs), tuple(losses), tuple(smooth))


def write_curve(curve: Curve, stage: str, folder: Path) -> None:
    """Write `range_test-STAGE.csv` and the picture of it."""
    rows = zip(curve.lrs, curve.losses, curve.smooth, strict=True)
    write_csv(folder / f"range_test-{stage}.csv", ("lr", "loss", "smooth"), rows)
    figure, (axes,) = panels((6, 3.6))
    axes.plot(curve.lrs, curve.smooth, color=PALE, label="smoothed")
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
