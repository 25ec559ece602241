"""The strategy: which blocks are trainable in which stage, and when a stage and the run end.

A new head is trained first, on features that stay as they are. Then more of the network is opened,
from the top, because what is learned low down (edges, textures) serves any photos, and what is learned
high up is about ImageNet's classes (Yosinski et al., "How transferable are features in deep neural
networks?", NIPS 2014). With a target it ends when validation accuracy reaches that, or everything is
open. Without one more is opened as long as it pays: until at most one validation photo in 200 is wrong,
or two stages in a row, each dearer than the one before, have gained nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.preprocessing import MIN_SIZE
from training.fit.settings import TrainSettings

BLOCKS = 19  # feature blocks of MobileNetV2
HALF_SIZE = "half-size"
Epoch = dict[str, float]  # a row of metrics.csv
ENOUGH = 0.995  # validation accuracy that leaves nothing to gain
NO_GAIN = 2  # stages in a row that may bring nothing
FALLEN = 0.05  # of validation accuracy, or two standard errors: far below the stage before
WARM_UP_SHARE = 0.1  # of a stage's steps
SCRATCH_LR = 3e-3
SCRATCH_WHOLE_LR = 1e-3  # at full size, of weights that are good already

# Name, trainable blocks, share of the epochs. The borders are where the photo's maps halve in size or
# the channels grow most: blocks 14 to 18 see 1/32 of the sides, 7 to 13 see 1/16.
LADDER = (("head", 0, 1), ("top", 5, 1), ("upper", 12, 2), ("whole", BLOCKS, 8))


@dataclass(frozen=True)
class Stage:
    """A row of the training schedule."""

    name: str  # for logs, checkpoints and people
    epochs: int  # passes over the training photos, at most
    size: int  # side of the photos in pixels
    trainable_blocks: int = BLOCKS  # of the feature blocks, counted from the top; the head always is
    lr: float | None = None  # highest learning rate; None to find one by a range test


@dataclass(frozen=True)
class StageResult:
    """What came of a stage."""

    stage: Stage
    why: str  # the reason for running it
    lr: float  # the highest learning rate, and in `lr_from` how it was chosen
    lr_from: str
    epochs: int  # how many were run; `ended` says why no more
    ended: str
    best_epoch: int  # the one whose weights were kept, from 0
    val_accuracy: float  # of that epoch; so is `val_loss`
    val_loss: float
    seconds: float  # all of it, with range test and validation
    photos_per_s: float  # over the training steps alone
    val_accuracy_95: tuple[float, float] | None = None  # its interval, over groups of photos

    @property
    def accuracy(self) -> str:
        """The accuracy with its interval, for people."""
        return accuracy_in_words(self.val_accuracy, self.val_accuracy_95)


def accuracy_in_words(accuracy: float, interval: tuple[float, float] | None) -> str:
    """Write an accuracy, and half the width of its 95 % interval."""
    spread = f" ± {(interval[1] - interval[0]) / 2:.3f}" if interval else ""
    return f"{accuracy:.3f}{spread}"


def stages_of(settings: TrainSettings) -> tuple[Stage, ...]:
    """List the stages; with pre-trained weights the later ones are run only if they are needed.

    From scratch there is nothing to keep frozen; three quarters of the epochs go over photos of half
    the size, at a quarter of the work (progressive resizing: Howard, fast.ai at DAWNBench, 2018).
    """
    size, lr = settings.size, settings.lr
    if settings.weights == "none":
        first = settings.epochs * 3 // 4
        whole = Stage("whole", settings.epochs - first, size, lr=lr or SCRATCH_WHOLE_LR)
        half = Stage(HALF_SIZE, first, max(MIN_SIZE, size // 2), lr=SCRATCH_LR)
        return (half, whole) if first else (whole,)
    rows = LADDER if settings.epochs >= 6 else (LADDER[0], LADDER[-1])
    shares = sum(share for _, _, share in rows)
    epochs = [max(1, settings.epochs * share // shares) for _, _, share in rows]
    epochs[-1] = max(1, settings.epochs - sum(epochs[:-1]))
    return tuple(
        Stage(name, n, size, blocks, lr) for (name, blocks, _), n in zip(rows, epochs, strict=True)
    )


def next_stage_reason(
    stages: Sequence[Stage], results: Sequence[StageResult], settings: TrainSettings
) -> str | None:
    """Say why the next stage is run; None when it isn't (see `end_reason`)."""
    if len(results) == len(stages):
        return None
    stage = stages[len(results)]
    if settings.weights == "none":
        small = stage.name == HALF_SIZE
        return "half the size first, at a quarter of the work" if small else "photos at their full size"
    if not results:
        return "a new head on pre-trained features"
    if _why_no_more(results, settings):
        return None
    best = max(results, key=lambda r: r.val_accuracy).accuracy
    blocks = stage.trainable_blocks
    opened = "all blocks" if blocks == BLOCKS else f"{blocks} blocks from the top"
    room = "leaves room" if settings.target is None else f"is below the target {settings.target:g}"
    return f"validation accuracy {best} {room}: unfreeze {opened}"


def _why_no_more(results: Sequence[StageResult], settings: TrainSettings) -> str:
    """Say why no more blocks are unfrozen; "" if they are to be."""
    accuracies = [result.val_accuracy for result in results]
    if settings.target is not None:
        return "target met" if max(accuracies) >= settings.target else ""
    if max(accuracies) >= ENOUGH:
        return "nothing left to gain"
    earlier, last = accuracies[:-NO_GAIN], accuracies[-NO_GAIN:]
    return f"{NO_GAIN} stages in a row brought nothing" if earlier and max(last) <= max(earlier) else ""


def end_reason(results: Sequence[StageResult], settings: TrainSettings) -> str:
    """Say why nothing more was run."""
    best = results[best_stage_index(results)].accuracy
    if settings.weights == "none":
        return f"all stages are done: validation accuracy {best}"
    if settings.target is None:
        why = _why_no_more(results, settings) or "all stages are done"
        return f"{why}: validation accuracy {best}"
    why = _why_no_more(results, settings) or "all blocks are trained, target not met"
    return f"{why}: validation accuracy {best}, target {settings.target:g}"


def best_stage_index(results: Sequence[StageResult]) -> int:
    """Number the stage whose weights are kept: the best of those at the last one's size."""
    size = results[-1].stage.size
    same = [i for i, result in enumerate(results) if result.stage.size == size]
    return max(same, key=lambda i: (results[i].val_accuracy, i))


def lr_scale(step: int, steps: int) -> float:
    """Return the share of a stage's peak learning rate: it rises in a line, falls along a cosine."""
    warm_up = max(1.0, WARM_UP_SHARE * steps)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1.0, steps - warm_up)))


def best_epoch(epochs: list[Epoch]) -> int:
    """Number the epoch of the highest accuracy; of several, that of the lowest loss."""
    return max(range(len(epochs)), key=lambda i: (epochs[i]["val_accuracy"], -epochs[i]["val_loss"]))


def has_stalled(epochs: list[Epoch], patience: int) -> bool:
    """Tell whether neither loss nor accuracy has got better in the last `patience` epochs."""
    if len(epochs) <= patience:
        return False
    before, last = epochs[:-patience], epochs[-patience:]
    accuracy = max(e["val_accuracy"] for e in last) > max(e["val_accuracy"] for e in before)
    return not accuracy and min(e["val_loss"] for e in last) >= min(e["val_loss"] for e in before)


def stage_end(
    epochs: list[Epoch], stage: Stage, patience: int, before: float | None, photos: int
) -> str | None:
    """Say why a stage ends here; None if it goes on.

    Args:
        epochs: of the stage, that are done.
        stage: in progress.
        patience: see `has_stalled`.
        before: validation accuracy of the best stage before it; None if there is none to compare with.
        photos: how many there are for validation.

    What is newly unfrozen unlearns at first, and half of a stage's epochs make up for it. One that is
    still far below the stage before has a learning rate that doesn't suit it.
    """
    if len(epochs) >= stage.epochs:
        return "all its epochs are done"
    if has_stalled(epochs, patience):
        return f"no better for {patience} epochs"
    if before is None or len(epochs) < max(2, math.ceil(stage.epochs / 2)):
        return None
    best = max(epoch["val_accuracy"] for epoch in epochs)
    error = math.sqrt(before * (1 - before) / photos)
    if best >= before - max(FALLEN, 2 * error):
        return None
    return f"its first {len(epochs)} epochs reached {best:.3f}, far below the {before:.3f} before it"
