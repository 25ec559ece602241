"""A last fit on all photos, those for validation too, by what was chosen with them.

The stages up to the best one are run again from the start, at the learning rates and for the epochs that
they had. Nothing is chosen any more and no photo is left that could tell how good the network is, so the
figures of the run, and its calibration, stay those of the network before.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from training.fit import checkpoint
from training.fit.plan import Plan
from training.fit.schedule import Epoch, Stage, StageResult, best_stage_index
from training.fit.trainer import Trainer

FOLDER = "refit"  # of the run: its own logs, and its checkpoints while it lasts


class Refit(Trainer):
    """The schedule once more, on training and validation photos."""

    def __init__(self, fabric: Fabric, plan: Plan, run: Path, results: Sequence[StageResult]) -> None:
        """Begin, or resume from the checkpoint of its own that `run` has."""
        progress = None
        if fabric.is_global_zero:
            progress = checkpoint.load(run / FOLDER, plan.classes)
            (run / FOLDER).mkdir(exist_ok=True)
        settings = replace(plan.settings, logger="csv")
        every = replace(plan, settings=settings, train=plan.train + plan.validation)
        super().__init__(fabric, every, run / FOLDER, fabric.broadcast(progress))
        kept = results[: best_stage_index(results) + 1]
        self.stages = tuple(replace(result.stage, lr=result.lr) for result in kept)
        self.photos = len(every.train)
        self.tracker.say(
            f"refit: again on all {self.photos} photos, so accuracy on validation is that of photos "
            "learned from"
        )

    def to_json(self) -> dict[str, Any]:
        """Lay out for run.json what was done; its accuracies mean nothing and are left out."""
        stages = [
            {
                "stage": asdict(result.stage),
                "lr": result.lr,
                "epochs": result.epochs,
                "seconds": result.seconds,
            }
            for result in self.progress.results
        ]
        return {"photos": self.photos, "stages": stages}

    def _why_next(self) -> str | None:
        done = len(self.progress.results)
        return "again, on all photos" if done < len(self.stages) else None

    def _stage_end(self, stage: Stage, epochs: list[Epoch]) -> str | None:
        return "all its epochs are done" if len(epochs) >= stage.epochs else None
