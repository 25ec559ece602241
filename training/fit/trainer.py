"""The schedule at work: stage after stage, until the target is met or everything is open.

After each epoch all that going on needs is on disk, so whatever ends the process costs an epoch at most.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning.fabric import Fabric

from model.network import Network, load_pretrained
from model.preprocessing import Preprocessing
from training.fit import checkpoint
from training.fit.checkpoint import Progress, Running
from training.fit.loaders import Batches, Order, PhotoDataset, Unreadable, loader
from training.fit.lr_finder import STEPS, write_curve
from training.fit.plan import Plan
from training.fit.schedule import Stage, StageResult, kept, reason, stages_of
from training.fit.stage import Fitting, Job, best_epoch, stuck
from training.fit.tracking import Tracker
from training.fit.transforms import before_crop, test_transform, train_transform


class Training:
    """The schedule at work; `progress` is what `last.ckpt` holds."""

    def __init__(self, fabric: Fabric, plan: Plan, run: Path, progress: Progress | None = None) -> None:
        """Go on from `progress`, or begin with the weights that the settings name."""
        self._fabric, self._plan, self._run = fabric, plan, run
        torch.manual_seed(plan.settings.seed)
        self.network = Network(len(plan.classes))
        if progress is not None:
            self.network.load_state_dict(progress.network)
        elif fabric.is_global_zero:  # the others get them when a stage begins
            load_pretrained(self.network, plan.settings.weights)
        self.progress = progress or Progress(plan.classes, self.network.state_dict())
        self.tracker = Tracker(
            run, plan.settings.logger, asdict(plan.settings), quiet=not fabric.is_global_zero
        )
        self.unreadable = Unreadable(len(plan.train) + len(plan.validation))
        for result in self.progress.results:
            self.tracker.stage_done(result.epochs)
        if self.progress.running and (rate := plan.settings.rate):
            self.progress.running = replace(self.progress.running, rate=rate, rate_from="given")
        self._job = Job(fabric, plan.settings, plan.class_weights, self.unreadable, self.tracker)
        self._loaders: dict[int, tuple[Batches, Batches]] = {}

    def finish(self) -> tuple[StageResult, ...]:
        """Run the stages that are needed; the network is then the best of them."""
        settings = self._plan.settings
        stages = stages_of(settings)
        while why := reason(stages, self.progress.results, settings):
            number = len(self.progress.results)
            self._stage(stages[number], number, why)
        return tuple(self.progress.results)

    def where(self) -> dict[str, str | int]:
        """Name the stage in progress and how many of its epochs are done."""
        done = len(self.progress.results)
        running = self.progress.running
        stage = stages_of(self._plan.settings)[done]
        return {"stage": stage.name, "epochs_done": len(running.epochs) if running else 0}

    def fitting(self, stage: Stage, number: int) -> Fitting:
        """Make what a stage needs; photos of the same size keep their loaders."""
        if stage.size not in self._loaders:
            self._loaders = {stage.size: self._make_loaders(stage.size)}
        return Fitting(self._job, self.network, stage, number, *self._loaders[stage.size])

    def find_rate(self, fitting: Fitting, stage: Stage) -> float:
        """Run the range test, keep its curve and say what it tells."""
        self.tracker.say(f"{stage.name:<9} range test, up to {STEPS} steps")
        curve = fitting.find_rate()
        if self._fabric.is_global_zero:
            folder = self._run / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            write_curve(curve, stage.name, folder)
        words = f"rate {curve.suggestion:.1e}, the loss gets worse after {curve.highest:.1e}"
        self.tracker.say(f"{stage.name:<9} range test: {words}")
        return curve.suggestion

    def _stage(self, stage: Stage, number: int, why: str) -> None:
        fitting, progress = self.fitting(stage, number), self.progress
        if progress.running is None:
            self.tracker.say(f"{stage.name:<9} {why}")
            progress.running = self._begin(fitting, stage, why)
            self._save()
        fitting.go_on(progress.running)
        patience = self._plan.settings.patience
        if self._plan.settings.weights == "none":
            patience = stage.epochs  # from scratch, accuracy rises in leaps
        running = progress.running
        while len(running.epochs) < stage.epochs and not stuck(running.epochs, patience):
            progress.running = running = fitting.epoch(running)
            progress.network = self.network.state_dict()
            self.tracker.epoch(stage, running.rate, running.epochs)
            self._save()
        self._end(stage, running)

    def _begin(self, fitting: Fitting, stage: Stage, why: str) -> Running:
        if stage.rate is not None:
            given = self._plan.settings.rate == stage.rate
            return Running(why, stage.rate, "given" if given else "default")
        started = time.monotonic()
        rate = self.find_rate(fitting, stage)
        return Running(why, rate, "range test", extra_s=time.monotonic() - started)

    def _end(self, stage: Stage, running: Running) -> None:
        """Note what came of the stage, and go on from the best so far."""
        progress, epochs = self.progress, running.epochs
        at = best_epoch(epochs)
        patience = f"no better for {self._plan.settings.patience} epochs"
        progress.results.append(
            StageResult(
                stage=stage,
                why=running.why,
                rate=running.rate,
                rate_from=running.rate_from,
                epochs=len(epochs),
                ended=patience if len(epochs) < stage.epochs else "all its epochs are done",
                best_epoch=at,
                val_accuracy=epochs[at]["val_accuracy"],
                val_loss=epochs[at]["val_loss"],
                seconds=running.extra_s + sum(e["seconds"] for e in epochs),
                photos_per_s=len(epochs) / sum(1 / e["photos_per_s"] for e in epochs),
            )
        )
        if kept(progress.results) == len(progress.results) - 1:
            progress.best = running.best
        self.network.load_state_dict(progress.best)
        progress.network, progress.running = progress.best, None
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
