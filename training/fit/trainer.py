"""The schedule at work: stage after stage, until the target is met or all blocks are trainable.

After each epoch all that resuming needs is on disk, so whatever ends the process costs an epoch at most.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning.fabric import Fabric

from model.network import Network, load_pretrained
from model.preprocessing import Preprocessing
from training.fit import checkpoint
from training.fit.checkpoint import RunProgress, StageProgress
from training.fit.loaders import Batches, Order, PhotoDataset, Unreadable, loader
from training.fit.lr_finder import STEPS, write_curve
from training.fit.plan import Plan
from training.fit.schedule import (
    Stage,
    StageResult,
    best_epoch,
    best_stage_index,
    has_stalled,
    next_stage_reason,
    stages_of,
)
from training.fit.stage import LoopContext, StageLoop
from training.fit.tracking import Tracker
from training.fit.transforms import before_crop, test_transform, train_transform


class Trainer:
    """The schedule at work; `progress` is what `last.ckpt` holds."""

    def __init__(
        self, fabric: Fabric, plan: Plan, run: Path, progress: RunProgress | None = None
    ) -> None:
        """Resume from `progress`, or begin with the weights that the settings name."""
        self._fabric, self._plan, self._run = fabric, plan, run
        torch.manual_seed(plan.settings.seed)
        self.network = Network(len(plan.classes))
        if progress is not None:
            self.network.load_state_dict(progress.network)
        elif fabric.is_global_zero:  # the others get them when a stage begins
            load_pretrained(self.network, plan.settings.weights)
        self.progress = progress or RunProgress(plan.classes, self.network.state_dict())
        self.tracker = Tracker(
            run, plan.settings.logger, asdict(plan.settings), quiet=not fabric.is_global_zero
        )
        self.unreadable = Unreadable(len(plan.train) + len(plan.validation))
        for result in self.progress.results:
            self.tracker.stage_done(result.epochs)
        if self.progress.current and (lr := plan.settings.lr):
            self.progress.current = replace(self.progress.current, lr=lr, lr_from="given")
        self._context = LoopContext(
            fabric, plan.settings, plan.class_weights, self.unreadable, self.tracker
        )
        self._loaders: dict[int, tuple[Batches, Batches]] = {}

    def finish(self) -> tuple[StageResult, ...]:
        """Run the stages that are needed; the network is then the best of them."""
        settings = self._plan.settings
        stages = stages_of(settings)
        while why := next_stage_reason(stages, self.progress.results, settings):
            number = len(self.progress.results)
            self._stage(stages[number], number, why)
        return tuple(self.progress.results)

    def where(self) -> dict[str, str | int]:
        """Name the stage in progress and how many of its epochs are done."""
        done = len(self.progress.results)
        current = self.progress.current
        stage = stages_of(self._plan.settings)[done]
        return {"stage": stage.name, "epochs_done": len(current.epochs) if current else 0}

    def stage_loop(self, stage: Stage, number: int) -> StageLoop:
        """Make what a stage needs; photos of the same size keep their loaders."""
        if stage.size not in self._loaders:
            self._loaders = {stage.size: self._make_loaders(stage.size)}
        return StageLoop(self._context, self.network, stage, number, *self._loaders[stage.size])

    def find_lr(self, loop: StageLoop, stage: Stage) -> float:
        """Run the range test, keep its curve and say what it tells."""
        self.tracker.say(f"{stage.name:<9} range test, up to {STEPS} steps")
        curve = loop.find_lr()
        if self._fabric.is_global_zero:
            folder = self._run / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            write_curve(curve, stage.name, folder)
        self.tracker.say(f"{stage.name:<9} range test: {curve.words}")
        return curve.suggestion

    def _stage(self, stage: Stage, number: int, why: str) -> None:
        loop, progress = self.stage_loop(stage, number), self.progress
        if progress.current is None:
            self.tracker.say(f"{stage.name:<9} {why}")
            progress.current = self._begin(loop, stage, why)
            self._save()
        loop.resume_from(progress.current)
        patience = self._plan.settings.patience
        if self._plan.settings.weights == "none":
            patience = stage.epochs  # from scratch, accuracy rises in leaps
        current = progress.current
        while len(current.epochs) < stage.epochs and not has_stalled(current.epochs, patience):
            progress.current = current = loop.epoch(current)
            progress.network = self.network.state_dict()
            self.tracker.epoch(stage, current.lr, current.epochs)
            self._save()
        self._end(stage, current)

    def _begin(self, loop: StageLoop, stage: Stage, why: str) -> StageProgress:
        if stage.lr is not None:
            given = self._plan.settings.lr == stage.lr
            return StageProgress(why, stage.lr, "given" if given else "default")
        started = time.monotonic()
        lr = self.find_lr(loop, stage)
        return StageProgress(why, lr, "range test", extra_s=time.monotonic() - started)

    def _end(self, stage: Stage, current: StageProgress) -> None:
        """Note what came of the stage, and continue from the best so far."""
        progress, epochs = self.progress, current.epochs
        at = best_epoch(epochs)
        patience = f"no better for {self._plan.settings.patience} epochs"
        progress.results.append(
            StageResult(
                stage=stage,
                why=current.why,
                lr=current.lr,
                lr_from=current.lr_from,
                epochs=len(epochs),
                ended=patience if len(epochs) < stage.epochs else "all its epochs are done",
                best_epoch=at,
                val_accuracy=epochs[at]["val_accuracy"],
                val_loss=epochs[at]["val_loss"],
                seconds=current.extra_s + sum(e["seconds"] for e in epochs),
                photos_per_s=len(epochs) / sum(1 / e["photos_per_s"] for e in epochs),
            )
        )
        if best_stage_index(progress.results) == len(progress.results) - 1:
            progress.best = current.best
        self.network.load_state_dict(progress.best)
        progress.network, progress.current = progress.best, None
        self.tracker.stage_done(len(epochs))
        self._save()

    def _save(self) -> None:
        if self._fabric.is_global_zero:
            checkpoint.save(self.progress, self._run)

    def _make_loaders(self, size: int) -> tuple[Batches, Batches]:
        settings, preprocessing = self._plan.settings, Preprocessing(size)
        where = (settings.batch_size, self._fabric.global_rank, self._fabric.world_size)
        train, val = self._plan.train, self._plan.validation
        augmented = PhotoDataset(train, train_transform(preprocessing), before_crop(preprocessing))
        plain = PhotoDataset(val, test_transform(preprocessing), preprocessing.size)
        order = Order(len(train), *where)
        in_turn = Order(len(val), *where, shuffle=False)
        return loader(augmented, order, settings.workers), loader(plain, in_turn, settings.workers)
