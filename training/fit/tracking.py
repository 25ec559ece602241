"""What a run leaves to look at: a line on the console and a row of figures for each epoch.

logs/csv/STAGE/metrics.csv is always written; beside it TensorBoard's files or Weights & Biases'.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from model.errors import missing_library
from model.text import shell_quote
from report import progress
from report.tables import write_csv
from training.fit.schedule import BLOCKS, Epoch, Stage, accuracy_in_words

Item = TypeVar("Item")
_HEADER = "stage     epoch  train loss  val loss  val accuracy   photos/s  seconds  left"


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
        self._headed = False  # the table of epochs, on the console

    def say(self, line: str) -> None:
        """Print a line for people."""
        if not self._quiet:
            progress.say(line)

    def epoch(self, stage: Stage, lr: float, epochs: list[Epoch], later: Sequence[Stage] = ()) -> None:
        """Note the last of `epochs`, and say how long they and the `later` stages will take at most."""
        if self._quiet:
            return
        last = epochs[-1]
        if not self._headed:
            self.say(f"logs: {self._how_to_look()}")
            self.say(_HEADER)
            self._headed = True
        accuracy = accuracy_in_words(last["val_accuracy"], interval_of(last))
        self.say(
            f"{stage.name:<9} {f'{len(epochs)}/{stage.epochs}':>5}  {last['train_loss']:>10.3f}  "
            f"{last['val_loss']:>8.3f}  {accuracy:<13}  {last['photos_per_s']:>8.0f}  "
            f"{last['seconds']:>6.0f} s  {_duration(seconds_left(stage, epochs, later))}"
        )
        self._write_csv(stage, epochs)
        if self._logger == "tensorboard":
            self._write_events(stage, last)
        if self._wandb is not None:
            self._wandb.log({"stage": stage.name, "lr": lr, **last}, step=self._total + len(epochs))

    def _how_to_look(self) -> str:
        """Say where the logs are, and how to look at them."""
        logs = shell_quote(self._run / "logs")
        if self._logger == "tensorboard":
            return f"{logs}; to watch them: tensorboard --logdir {logs}"
        return f"{logs}, a row for each epoch in csv/STAGE/metrics.csv"

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


def interval_of(epoch: Epoch) -> tuple[float, float] | None:
    """Take the 95 % interval of an epoch's accuracy; None for those of earlier versions."""
    if "val_accuracy_low" not in epoch:
        return None
    return epoch["val_accuracy_low"], epoch["val_accuracy_high"]


def seconds_left(stage: Stage, epochs: Sequence[Epoch], later: Sequence[Stage]) -> float:
    """Estimate the time of all epochs that may come, of later stages too, without range tests."""
    an_epoch = sum(epoch["seconds"] for epoch in epochs) / len(epochs)
    own = stage.epochs - len(epochs)
    return an_epoch * (own + sum(s.epochs * _work(s) for s in later) / _work(stage))


def _work(stage: Stage) -> float:
    """What a photo costs, about: the way back through a block takes twice the way forward."""
    return stage.size**2 * (1 + 2 * stage.trainable_blocks / BLOCKS)


def _duration(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


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
