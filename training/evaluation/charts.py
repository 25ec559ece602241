"""The charts: drawn for a light and a dark page, and as PNG files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from report.charts import (
    BLUE,
    DASHED,
    GREEN,
    GREY,
    INK,
    LINE,
    PAPER,
    RED,
    SOFT,
    Axes,
    Chart,
    Figure,
    percent_ticks,
    short,
    to_rgb,
    whole_ticks,
)
from training.evaluation.evaluate import Evaluation
from training.evaluation.history import History, StageRow

LABELLED = 12  # classes up to which each cell of the confusion matrix says its count
DRAWN = 40  # classes; of more, the figures by class stay in the table


def charts_of(result: Evaluation, history: History) -> list[Chart]:
    """List what there is to draw."""
    found = []
    if len(result.per_class) <= DRAWN:
        found += [
            Chart("per_class", "precision, recall and F1 of each class", per_class(result)),
            Chart("confusion", "confusion matrix", confusion(result)),
        ]
    found.append(Chart("reliability", "accuracy by confidence", reliability(result)))
    if any(stage.epochs for stage in history.stages):
        found.append(Chart("curves", "loss and accuracy by epoch", curves(history)))
    tested = [stage for stage in history.stages if stage.range_test]
    if tested:
        found.append(Chart("range_tests", "loss by learning rate", range_tests(tested)))
    return found


def per_class(result: Evaluation) -> Figure:
    """Each figure of each class with its interval."""
    names = list(result.per_class)
    figure = Figure((9, 0.9 + 0.34 * len(names)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True, gridspec_kw={"wspace": 0.08})
    for axes, (key, title) in zip(
        panels, (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1")), strict=True
    ):
        for place, row in enumerate(result.per_class.values()):
            value, (low, high) = getattr(row, key), getattr(row, f"{key}_95")
            axes.plot((low, high), (place, place), color=BLUE, alpha=0.35, lw=7, solid_capstyle="round")
            axes.plot(value, place, "o", color=BLUE, ms=6.5, mec=PAPER, mew=1.2)
            axes.annotate(
                f"{value:.2f}", (value, place), (0, 7), textcoords="offset points",
                ha="center", fontsize=8, color=INK,
            )  # fmt: skip
        axes.set(title=title, xlim=(-0.02, 1.04), ylim=(len(names) - 0.4, -0.75))
        axes.grid(axis="x")
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
        percent_ticks(axes.xaxis)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_yticks(range(len(names)), [short(name) for name in names])
    return figure


def confusion(result: Evaluation) -> Figure:
    """Shades are shares of the true class, blue where the answer is right; numbers are photos."""
    counts = np.array(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    side = 1.6 + max(3.0, min(0.85 * n, 8.0))
    figure = Figure((side + 1.0, side), layout="constrained")
    axes = figure.subplots()
    right = np.eye(n, dtype=bool)[..., None]
    opacity = np.where(right, shares[..., None], np.sqrt(shares)[..., None])
    colour = np.where(right, to_rgb(BLUE), to_rgb(RED))
    axes.imshow(np.concatenate([colour, opacity], axis=2), interpolation="nearest")
    axes.hlines(np.arange(n + 1) - 0.5, -0.5, n - 0.5, color=LINE, lw=1)
    axes.vlines(np.arange(n + 1) - 0.5, -0.5, n - 0.5, color=LINE, lw=1)
    names = [short(name) for name in result.per_class]
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(n), names, **(turned if n > 4 or max(map(len, names)) > 9 else {}))
    axes.set_yticks(range(n), names)
    axes.set(xlabel="answer", ylabel="truth", xlim=(-0.52, n - 0.48), ylim=(n - 0.48, -0.52))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if n <= LABELLED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if opacity[row, column, 0] > 0.55 else INK
                axes.text(
                    column, row, f"{count}\n{shares[row, column]:.0%}",
                    ha="center", va="center", color=ink, fontsize=9 if n > 6 else 10.5, linespacing=1.3,
                )  # fmt: skip
    return figure


def reliability(result: Evaluation) -> Figure:
    """Accuracy of the photos in each bin of confidence, and below it how many these are."""
    figure = Figure((6.2, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    bins = [b for b in result.reliability.bins if b.photos]
    middle, width = [(b.low + b.high) / 2 for b in bins], 0.92 / len(result.reliability.bins)
    accuracy, confidence = [b.accuracy for b in bins], [b.confidence for b in bins]
    above.plot((0, 1), (0, 1), color=GREY, lw=1.2, ls=DASHED, label="as good as it says")
    above.bar(middle, accuracy, width, color=BLUE, alpha=0.85, label="accuracy")
    for x, low, high in zip(middle, accuracy, confidence, strict=True):
        gap = {"color": RED, "alpha": 0.45, "lw": 0}
        above.fill_between((x - width / 2, x + width / 2), low, high, **gap)
    above.fill_between((), (), (), color=RED, alpha=0.45, lw=0, label="gap to confidence")
    if result.uncalibrated:
        raw = [b for b in result.uncalibrated.bins if b.photos]
        points = [b.confidence for b in raw], [b.accuracy for b in raw]
        style = {"color": SOFT, "ms": 3.5, "lw": 1}
        above.plot(*points, "o-", label="without temperature", **style)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    percent_ticks(above.yaxis)
    above.legend(loc="upper left", fontsize=8.5)
    below.bar(middle, [b.photos for b in bins], width, color=GREY)
    below.set(xlabel="confidence", ylabel="photos")
    percent_ticks(below.xaxis)
    whole_ticks(below.yaxis, 3)
    for axes in (above, below):
        axes.grid(axis="y")
    return figure


def curves(history: History) -> Figure:
    """Loss and validation accuracy over the epochs of all stages; the epoch kept is marked."""
    figure = Figure((9, 3.3), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    start = 0
    for number, stage in enumerate(history.stages):
        x = list(range(start + 1, start + 1 + len(stage.epochs)))
        label = number == 0
        for name, colour, what in (("train_loss", BLUE, "train"), ("val_loss", RED, "validation")):
            losses.plot(x, stage.curve(name), "o-", color=colour, ms=3, label=what if label else None)
        accuracies.plot(x, stage.curve("val_accuracy"), "o-", color=RED, ms=3)
        best = stage.facts.get("best_epoch")
        if isinstance(best, int) and 0 <= best < len(x):
            kept = stage.curve("val_accuracy")[best]
            accuracies.plot(x[best], kept, "o", color=GREEN, ms=8, mec=PAPER, mew=1.2)
        for axes in (losses, accuracies):
            _mark_stage(axes, stage.name, start, start + len(stage.epochs), number)
        start += len(stage.epochs)
    if history.target:
        accuracies.axhline(history.target, color=GREY, lw=1.2, ls=DASHED)
    losses.set(title="Loss", xlabel="epoch", ylim=(0, None))
    losses.legend()
    accuracies.set(title="Validation accuracy", xlabel="epoch")
    percent_ticks(accuracies.yaxis)
    for axes in (losses, accuracies):
        axes.set_xlim(0.5, start + 0.5)
        whole_ticks(axes.xaxis, 10)
        axes.grid(axis="y")
    return figure


def range_tests(stages: Sequence[StageRow]) -> Figure:
    """Loss by learning rate as each range test had it, and the rate that was chosen."""
    figure = Figure((3.1 * max(2, len(stages)), 2.7), layout="constrained")
    panels = figure.subplots(1, max(2, len(stages)), squeeze=False)[0]
    for axes, stage in zip(panels, stages, strict=False):
        rates, losses = np.array(stage.range_test).T
        axes.plot(rates, losses, color=BLUE)
        chosen = stage.facts.get("lr")
        if chosen:
            axes.axvline(chosen, color=GREEN, lw=1.4, ls=DASHED)
            note = {"ha": "left", "va": "top", "fontsize": 8.5, "color": GREEN}
            axes.text(chosen, 0.98, f" {chosen:.2g}", transform=axes.get_xaxis_transform(), **note)
        finite = losses[np.isfinite(losses)]
        if len(finite):  # the end, where it diverges, would flatten the rest
            low, first = float(finite.min()), float(finite[0])
            axes.set_ylim(low - 0.15 * (first - low + 1e-6), first + 0.6 * (first - low + 1e-6))
        axes.set(title=stage.name, xlabel="learning rate", xscale="log")
        axes.grid(axis="y")
    panels[0].set_ylabel("loss")
    for axes in panels[len(stages) :]:
        axes.set_visible(False)
    return figure


def _mark_stage(axes: Axes, name: str, start: int, end: int, number: int) -> None:
    """Shade every second stage and name each at the top."""
    if number % 2:
        axes.axvspan(start + 0.5, end + 0.5, color=LINE, alpha=0.45, lw=0)
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": 8, "color": SOFT}
    axes.text((start + end + 1) / 2, 1.0, name, ha="center", va="bottom", **place)
