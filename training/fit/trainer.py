"""The schedule at work: stage after stage, until the target is met or all blocks are trainable.

After each epoch all that resuming needs is on disk, so whatever ends the process costs an epoch at most.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from model.network import Network, load_pretrained
from model.preprocessing import Preprocessing
from training.fit import checkpoint
from training.fit.checkpoint import RunProgress, StageProgress
from training.fit.loaders import Batches, Order, PhotoDataset, Unreadable, loader
from training.fit.lr_finder import DEFAULT, STEPS, Curve, write_curve
from training.fit.plan import Plan
from training.fit.schedule import (
    Epoch,
    Stage,
    StageResult,
    best_epoch,
    best_stage_index,
    next_stage_reason,
    stage_end,
    stages_of,
)
from training.fit.stage import LoopContext, StageLoop
from training.fit.tracking import Tracker, interval_of
from training.fit.transforms import before_crop, test_transform, train_transform


class Trainer:
    """The schedule at work; `progress` is what `last.ckpt` holds."""

    loop = StageLoop  # what a stage is run by

    def __init__(
        self, fabric: Fabric, plan: Plan, run: Path, progress: RunProgress | None = None
    ) -> None:
        """Resume from `progress`, or begin with the weights that the settings name."""
        self._fabric, self._plan, self._run = fabric, plan, run
        self.stages = stages_of(plan.settings)
        torch.manual_seed(plan.settings.seed)
        self.network = Network(len(plan.classes), plan.settings.head)
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
            *(fabric, plan.settings, plan.class_weights, self.unreadable, self.tracker),
            plan.validation_groups or range(len(plan.validation)),
        )
        self._loaders: dict[int, tuple[Batches, Batches]] = {}

    def finish(self) -> tuple[StageResult, ...]:
        """Run the stages that are needed; the network is then the best of them."""
        while why := self._why_next():
            number = len(self.progress.results)
            self._stage(self.stages[number], number, why)
        return tuple(self.progress.results)

    def _why_next(self) -> str | None:
        return next_stage_reason(self.stages, self.progress.results, self._plan.settings)

    def where(self) -> dict[str, str | int]:
        """Name the stage in progress and how many of its epochs are done."""
        done = len(self.progress.results)
        current = self.progress.current
        stage = self.stages[done]
        return {"stage": stage.name, "epochs_done": len(current.epochs) if current else 0}

    def stage_loop(self, stage: Stage, number: int) -> StageLoop:
        """Make what a stage needs; photos of the same size keep their loaders."""
        if stage.size not in self._loaders:
            self._loaders = {stage.size: self._make_loaders(stage.size)}
        return self.loop(self._context, self.network, stage, number, *self._loaders[stage.size])

    def find_lr(self, loop: StageLoop, stage: Stage) -> Curve:
        """Run the range test, keep its curve and say what it tells."""
        self.tracker.say(f"{stage.name:<9} range test, up to {STEPS} steps")
        curve = loop.find_lr()
        if self._fabric.is_global_zero:
            folder = self._run / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            write_curve(curve, stage.name, folder)
        self.tracker.say(f"{stage.name:<9} range test: {curve.words}")
        return curve

    def _stage(self, stage: Stage, number: int, why: str) -> None:
        loop, progress = self.stage_loop(stage, number), self.progress
        if progress.current is None:
            self.tracker.say(f"{stage.name:<9} {why}")
            progress.current = self._begin(loop, stage, why)
            self._save()
        loop.resume_from(progress.current)
        current = progress.current
        while not (ended := self._stage_end(stage, current.epochs)):
            progress.current = current = loop.epoch(current)
            progress.network = self.network.state_dict()
            self.tracker.epoch(stage, current.lr, current.epochs, self.stages[number + 1 :])
            self._save()
        if len(current.epochs) < stage.epochs:
            self.tracker.say(f"{stage.name:<9} ends: {ended}")
        self._end(stage, current, ended)

    def _stage_end(self, stage: Stage, epochs: list[Epoch]) -> str | None:
        if self._plan.settings.weights == "none":  # accuracy rises in leaps, at two sizes
            return stage_end(epochs, stage, stage.epochs, None, 0)
        before = max((result.val_accuracy for result in self.progress.results), default=None)
        patience, photos = self._plan.settings.patience, len(self._plan.validation)
        return stage_end(epochs, stage, patience, before, photos)

    def _begin(self, loop: StageLoop, stage: Stage, why: str) -> StageProgress:
        if stage.lr is not None:
            given = self._plan.settings.lr == stage.lr
            return StageProgress(why, stage.lr, "given" if given else "default")
        if loop.steps < STEPS:
            self.tracker.say(
                f"{stage.name:<9} {loop.steps} steps are fewer than a range test takes: the default "
                f"learning rate, {DEFAULT:g}"
            )
            return StageProgress(why, DEFAULT, "default (few steps)")
        started = time.monotonic()
        curve = self.find_lr(loop, stage)
        how = "range test" if curve.highest is not None else "default (flat range test)"
        return StageProgress(why, curve.suggestion, how, extra_s=time.monotonic() - started)

    def _end(self, stage: Stage, current: StageProgress, ended: str) -> None:
        """Note what came of the stage, and continue from the best so far."""
        progress, epochs = self.progress, current.epochs
        at = best_epoch(epochs)
        progress.results.append(
            StageResult(
                stage=stage,
                why=current.why,
                lr=current.lr,
                lr_from=current.lr_from,
                epochs=len(epochs),
                ended=ended,
                best_epoch=at,
                val_accuracy=epochs[at]["val_accuracy"],
                val_loss=epochs[at]["val_loss"],
                val_accuracy_95=interval_of(epochs[at]),
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
        augment = train_transform(preprocessing, settings.augment)
        augmented = PhotoDataset(train, augment, before_crop(preprocessing))
        plain = PhotoDataset(val, test_transform(preprocessing), preprocessing.size)
        order = Order(len(train), *where)
        in_turn = Order(len(val), *where, shuffle=False)
        return loader(augmented, order, settings.workers), loader(plain, in_turn, settings.workers)
