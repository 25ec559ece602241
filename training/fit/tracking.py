"""What a run leaves to look at: a line on the console and a row of figures for each epoch.

logs/csv/STAGE/metrics.csv is always written; beside it TensorBoard's files or Weights & Biases'.
"""

import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from model.errors import missing_library
from report import progress
from report.tables import write_csv
from training.fit.schedule import Epoch, Stage

Item = TypeVar("Item")


class Tracker:
    """Writes the rows of one stage after another."""

    def __init__(self, run: Path, logger: str, settings: Mapping[str, Any], quiet: bool = False) -> None:
        """Log into `run`/logs; a `quiet` one says and writes nothing (all processes but the first).

        Raises:
            InputError: Weights & Biases isn't installed.
        """
        self._run, self._logger, self._quiet = run, logger, quiet
        self._wandb = _wandb(run, settings) if logger == "wandb" and not quiet else None
        self._events: Any = None  # TensorBoard's writer of the stage in progress
        self._total = 0  # epochs of earlier stages

    def say(self, line: str) -> None:
        """Print a line for people."""
        if not self._quiet:
            progress.say(line)

    def epoch(self, stage: Stage, lr: float, epochs: list[Epoch]) -> None:
        """Note the last of `epochs`, and say how long the stage will take at most."""
        if self._quiet:
            return
        last = epochs[-1]
        left = (stage.epochs - len(epochs)) * sum(e["seconds"] for e in epochs) / len(epochs)
        self.say(
            f"{stage.name:<9} {len(epochs):>3}/{stage.epochs}  loss {last['train_loss']:.3f}  "
            f"val accuracy {last['val_accuracy']:.3f}  lr {lr:.1e}  "
            f"{last['photos_per_s']:.0f} photos/s  {left:.0f} s left"
        )
        self._write_csv(stage, epochs)
        if self._logger == "tensorboard":
            self._write_events(stage, last)
        if self._wandb is not None:
            self._wandb.log({"stage": stage.name, "lr": lr, **last}, step=self._total + len(epochs))

    def stage_done(self, epochs: int) -> None:
        """Count on from here."""
        self._total += epochs
        if self._events is not None:
            self._events.close()
            self._events = None

    def close(self) -> None:
        """Hand everything over."""
        self.stage_done(0)
        if self._wandb is not None:
            self._wandb.finish()

    def track(self, batches: Iterable[Item], what: str) -> Iterable[Item]:
        """Show how far an epoch is."""
        return batches if self._quiet else progress.track(batches, what)

    def _write_csv(self, stage: Stage, epochs: list[Epoch]) -> None:
        """Write all rows: what a killed run has written of later epochs goes."""
        folder = self._run / "logs" / "csv" / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        names = list(epochs[0])
        rows = [[int(e[name]) if name == "epoch" else e[name] for name in names] for e in epochs]
        write_csv(folder / "metrics.csv", names, rows)

    def _write_events(self, stage: Stage, last: Epoch) -> None:
        from torch.utils.tensorboard import SummaryWriter

        at = int(last["epoch"])
        if self._events is None:
            folder = self._run / "logs" / "tensorboard" / stage.name
            self._events = SummaryWriter(folder, purge_step=at)
        for name, value in last.items():
            if name != "epoch":
                self._events.add_scalar(name, value, at)
        self._events.flush()


def _wandb(run: Path, settings: Mapping[str, Any]) -> Any:
    """Start a W&B run, or resume the one of this folder; WANDB_MODE=offline is W&B's own."""
    try:
        import wandb
    except ImportError as error:
        raise missing_library("logger 'wandb'", "wandb", error) from error
    folder = run / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb-id"
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex[:8])
    return wandb.init(
        project="flying-objects",
        name=run.name,
        id=identity.read_text(),
        resume="allow",
        dir=folder,
        config=dict(settings),
        settings=wandb.Settings(console="off", silent=True),
    )
