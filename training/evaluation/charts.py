"""The charts: drawn for a light and a dark page, and as PNG files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from report import charts as kit
from report.charts import Axes, Chart, Figure
from training.evaluation.evaluate import Evaluation, OutOfDistribution
from training.evaluation.history import History, StageRow
from training.fit.lr_finder import draw_losses

LABELLED = 12  # classes up to which each cell of the confusion matrix says its count
_LEAST_DRAWN = 1e-5  # of novelty, on a logarithmic axis
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
    if strange := result.out_of_distribution:
        drawn = out_of_distribution(strange, result.split)
        found.append(Chart("out_of_distribution", f"{strange.by} of known and other photos", drawn))
    if any(stage.epochs for stage in history.stages):
        found.append(Chart("curves", "loss and accuracy by epoch", curves(history)))
    tested = [stage for stage in history.stages if stage.range_test]
    if tested:
        found.append(Chart("range_tests", "loss by learning rate", range_tests(tested)))
    return found


def per_class(result: Evaluation) -> Figure:
    """Each figure of each class with its interval."""
    names = list(result.per_class)
    height = 0.9 + 0.34 * len(names)
    figure, panels = kit.panels((9, height), 1, 3, sharey=True, gridspec_kw={"wspace": 0.08})
    titles = {"precision": "Precision", "recall": "Recall", "f1": "F1"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for place, row in enumerate(result.per_class.values()):
            value, (low, high) = getattr(row, key), getattr(row, f"{key}_95")
            axes.plot(
                (low, high), (place, place), color=kit.BLUE, alpha=0.35, lw=7, solid_capstyle="round"
            )
            axes.plot(value, place, "o", color=kit.BLUE, ms=6.5, mec=kit.PAPER, mew=1.2)
            axes.annotate(
                f"{value:.2f}", (value, place), (0, 7), textcoords="offset points",
                ha="center", fontsize=8, color=kit.INK,
            )  # fmt: skip
        axes.set(title=title, xlim=(-0.02, 1.04), ylim=(len(names) - 0.4, -0.75))
        axes.grid(axis="x")
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1))
        kit.percent_ticks(axes.xaxis)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_yticks(range(len(names)), [kit.short(name) for name in names])
    return figure


def confusion(result: Evaluation) -> Figure:
    """Shades are shares of the true class, blue where the answer is right; numbers are photos."""
    counts = np.array(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    side = 1.6 + max(3.0, min(0.85 * n, 8.0))
    figure, (axes,) = kit.panels((side + 1.0, side))
    right = np.eye(n, dtype=bool)[..., None]
    opacity = np.where(right, shares[..., None], np.sqrt(shares)[..., None])
    colour = np.where(right, kit.to_rgb(kit.BLUE), kit.to_rgb(kit.RED))
    axes.imshow(np.concatenate([colour, opacity], axis=2), interpolation="nearest")
    axes.hlines(np.arange(n + 1) - 0.5, -0.5, n - 0.5, color=kit.LINE, lw=1)
    axes.vlines(np.arange(n + 1) - 0.5, -0.5, n - 0.5, color=kit.LINE, lw=1)
    names = [kit.short(name) for name in result.classes]
    turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(n), names, **(turned if n > 4 or max(map(len, names)) > 9 else {}))
    axes.set_yticks(range(n), names)
    axes.set(xlabel="answer", ylabel="truth", xlim=(-0.52, n - 0.48), ylim=(n - 0.48, -0.52))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if n <= LABELLED:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if opacity[row, column, 0] > 0.55 else kit.INK
                text = f"{count}\n{shares[row, column]:.0%}"
                size = 9 if n > 6 else 10.5
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
    return figure


def reliability(result: Evaluation) -> Figure:
    """Accuracy of the photos in each bin of confidence, and below it how many these are."""
    figure, (above, below) = kit.panels((6.2, 5.2), 2, sharex=True, height_ratios=(3.4, 1))
    bins = [b for b in result.reliability.bins if b.photos]
    middle, width = [(b.low + b.high) / 2 for b in bins], 0.92 / len(result.reliability.bins)
    accuracy = [b.accuracy for b in bins]
    above.plot((0, 1), (0, 1), color=kit.GREY, lw=1.2, ls=kit.DASHED, label="perfect calibration")
    above.bar(middle, accuracy, width, color=kit.BLUE, alpha=0.85, label="accuracy")
    gap = [b.confidence - b.accuracy for b in bins]
    above.bar(middle, gap, width, accuracy, color=kit.RED, alpha=0.45, label="gap to confidence")
    if result.uncalibrated:
        raw = [b for b in result.uncalibrated.bins if b.photos]
        points = [b.confidence for b in raw], [b.accuracy for b in raw]
        above.plot(*points, "o-", label="without temperature", color=kit.SOFT, ms=3.5, lw=1)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    kit.percent_ticks(above.yaxis)
    above.legend(loc="upper left", fontsize=8.5)
    below.bar(middle, [b.photos for b in bins], width, color=kit.GREY)
    below.set(xlabel="confidence", ylabel="photos")
    kit.percent_ticks(below.xaxis)
    kit.whole_ticks(below.yaxis, 3)
    for axes in (above, below):
        axes.grid(axis="y")
    return figure


def out_of_distribution(found: OutOfDistribution, split: str) -> Figure:
    """How novelty or confidence is distributed over both kinds of photos, and the ROC curve."""
    figure, (shares, roc) = kit.panels((9, 3.6), 1, 2, width_ratios=(1.6, 1))
    by_novelty = found.by == "novelty"
    edges = np.geomspace(_LEAST_DRAWN, 1, 26) if by_novelty else np.linspace(0, 1, 26)
    both = [np.maximum(values, edges[0]) for values in (found.known, found.strange)]
    names = f"{split} photos", "of no known class"
    for values, name, colour in zip(both, names, (kit.BLUE, kit.RED), strict=True):
        weights = np.full(len(values), 1 / len(values))
        shares.hist(values, edges.tolist(), weights=weights, color=colour, alpha=0.6, label=name)
    shares.set(xlabel=found.by, ylabel="share of photos", xlim=(edges[0], 1))
    if by_novelty:
        kit.scale_log(shares, "x")
        kit.mark(shares, "x", 0.02, "")
    kit.percent_ticks(shares.yaxis)
    kit.legend_above(shares)
    truth = np.repeat((0, 1), [len(values) for values in both])
    rate, caught, _ = roc_curve(truth, -np.concatenate((found.known, found.strange)))
    roc.plot((0, 1), (0, 1), color=kit.GREY, lw=1.2, ls=kit.DASHED)
    roc.plot(rate, caught, color=kit.BLUE)
    roc.set(
        title=f"ROC, area {found.auroc:.3f}", xlabel="known photos given up", ylabel="others noticed"
    )
    kit.percent_ticks(roc.xaxis, roc.yaxis)
    return figure


def curves(history: History) -> Figure:
    """Loss and accuracy over the epochs of all stages; the epoch kept is marked."""
    figure, (losses, accuracies) = kit.panels((9, 3.3), 1, 2)
    start = 0
    for number, stage in enumerate(history.stages):
        x = list(range(start + 1, start + 1 + len(stage.epochs)))
        losses.plot(x, stage.curve("train_loss"), "o-", color=kit.BLUE, ms=3)
        losses.plot(x, stage.curve("val_loss"), "o-", color=kit.RED, ms=3)
        accuracies.plot(x, stage.curve("train_accuracy"), "o-", color=kit.BLUE, ms=3)
        accuracies.plot(x, stage.curve("val_accuracy"), "o-", color=kit.RED, ms=3)
        best = stage.facts.get("best_epoch")
        if isinstance(best, int) and 0 <= best < len(x):
            kept = stage.curve("val_accuracy")[best]
            accuracies.plot(x[best], kept, "o", color=kit.GREEN, ms=8, mec=kit.PAPER, mew=1.2)
        for axes in (losses, accuracies):
            _mark_stage(axes, stage.name, start, start + len(stage.epochs), number)
        start += len(stage.epochs)
    if target := history.settings.get("target"):
        kit.mark(accuracies, "y", target, "target")
        accuracies.set_ylim(top=max(accuracies.get_ylim()[1], target + 0.06))  # below the stages' names
    losses.set(title="Loss", xlabel="epoch", ylim=(0, None))
    losses.legend(losses.lines[:2], ("train", "validation"))
    known = any("train_accuracy" in epoch for stage in history.stages for epoch in stage.epochs)
    accuracies.set(title="Accuracy" if known else "Validation accuracy", xlabel="epoch")
    kit.percent_ticks(accuracies.yaxis)
    for axes in (losses, accuracies):
        axes.set_xlim(0.5, start + 0.5)
        kit.whole_ticks(axes.xaxis, 10)
        axes.grid(axis="y")
    return figure


def range_tests(stages: Sequence[StageRow]) -> Figure:
    """Loss by learning rate as each range test had it, and the rate that was chosen."""
    width = max(2, len(stages))
    figure, panels = kit.panels((3.1 * width, 2.7), 1, width, len(stages))
    for axes, stage in zip(panels, stages, strict=True):
        lrs, losses = zip(*stage.range_test, strict=True)
        draw_losses(axes, lrs, losses, stage.facts.get("lr"))
        axes.set_title(stage.name)
    panels[0].set_ylabel("loss")
    return figure


def _mark_stage(axes: Axes, name: str, start: int, end: int, number: int) -> None:
    """Shade every second stage and name each at the top."""
    if number % 2:
        axes.axvspan(start + 0.5, end + 0.5, color=kit.LINE, alpha=0.45, lw=0)
    place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "fontsize": 8, "color": kit.SOFT}
    axes.text((start + end + 1) / 2, 1.0, name, ha="center", va="bottom", **place)
