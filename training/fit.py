"""Fitting one stage with Lightning: which parameters are open, one-cycle rate, best epoch kept."""

import contextlib
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich import get_console
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model.errors import FlyobjError
from model.network import Network

WARM_UP_SHARE = 0.1  # of a stage's steps, in which the rate rises

Batches = DataLoader[Any]


@dataclass(frozen=True)
class Stage:
    """A row of the training schedule.

    Attributes:
        name: for logs, checkpoints and people.
        epochs: passes over the training photos.
        rate: highest learning rate of the one-cycle policy (Smith and Topin, 2018).
        size: side of the photos in pixels.
        frozen: whether only the head learns.
    """

    name: str
    epochs: int
    rate: float
    size: int
    frozen: bool = False


@dataclass(frozen=True)
class StageResult:
    """What came of a stage."""

    stage: Stage
    val_accuracy: float
    best_epoch: int
    seconds: float
    photos_per_s: float


class Classifier(L.LightningModule):
    """The network with its loss: negative log-likelihood on log-probabilities."""

    def __init__(self, network: Network, stage: Stage) -> None:
        """Open what `stage` opens and freeze the rest."""
        super().__init__()
        self.network = network
        self._stage = stage
        self._correct = torch.zeros(2)  # right answers, photos
        network.features.requires_grad_(not stage.frozen)
        self.train()  # Lightning doesn't

    def train(self, mode: bool = True) -> "Classifier":
        """Frozen batch-norm layers keep their statistics."""
        super().train(mode)
        if self._stage.frozen:
            self.network.features.eval()
        return self

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch of (N, 3, S, S) photos."""
        photos, labels = batch
        loss = nn.functional.nll_loss(self._answers(photos), labels)
        if not torch.isfinite(loss):
            raise FlyobjError(
                f"the loss became {loss.item()} in stage {self._stage.name!r}; "
                f"try a lower rate than {self._stage.rate:g} (--rate) and another --out"
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Count right answers."""
        photos, labels = batch
        answers = self._answers(photos)
        self.log("val_loss", nn.functional.nll_loss(answers, labels), batch_size=len(labels))
        right = (answers.argmax(1) == labels).sum().item()
        self._correct += torch.tensor([right, len(labels)])

    def on_validation_epoch_end(self) -> None:
        """Log the share of right answers."""
        self.log("val_accuracy", self._correct[0] / self._correct[1])
        self._correct.zero_()

    def configure_optimizers(self) -> Any:
        """AdamW with a one-cycle policy over the whole stage."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self._stage.rate, weight_decay=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self._stage.rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=WARM_UP_SHARE,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _answers(self, photos: Tensor) -> Tensor:
        answers: Tensor = self.network(photos.contiguous(memory_format=torch.channels_last))
        return answers


class EpochLines(Callback):
    """One line an epoch: loss, accuracy, rate and time left."""

    def __init__(self, stage: Stage, n_photos: int) -> None:
        """Count `n_photos` an epoch."""
        self._stage = stage
        self._n_photos = n_photos
        self._start = time.monotonic()

    def on_train_start(self, *_: Any) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the line; validation has run by now."""
        del pl_module
        done, of = trainer.current_epoch + 1, self._stage.epochs
        spent = time.monotonic() - self._start
        get_console().print(
            f"{self._stage.name:<9} {done:>3}/{of}  "
            f"loss {trainer.callback_metrics['train_loss'].item():.3f}  "
            f"val accuracy {trainer.callback_metrics['val_accuracy'].item():.3f}  "
            f"{done * self._n_photos / spent:.0f} photos/s  "
            f"{spent / done * (of - done):.0f} s left",
            highlight=False,
        )


def fit(network: Network, stage: Stage, train: Batches, val: Batches, out: Path) -> StageResult:
    """Train `network` in place through `stage` and leave it at its best validation epoch.

    Logs for TensorBoard and as CSV go to `out/logs`, checkpoints to `out/checkpoints`.
    """
    n_photos = len(train.dataset)  # type: ignore[arg-type]
    best = ModelCheckpoint(
        out / "checkpoints", f"{stage.name}-{{epoch}}", monitor="val_accuracy", mode="max"
    )
    console = get_console()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    network.to(memory_format=torch.channels_last)
    started = time.monotonic()
    with warnings.catch_warnings():
        # Lightning advises more loader processes than cores that are free, and step-wise logging.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = L.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=stage.epochs,
            logger=[
                TensorBoardLogger(out / "logs", name="tensorboard", version=stage.name),
                CSVLogger(out / "logs", name="csv", version=stage.name),
            ],
            callbacks=[best, EpochLines(stage, n_photos)],
            enable_progress_bar=console.is_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with contextlib.suppress(SystemExit):  # what Lightning makes of Ctrl-C
            trainer.fit(Classifier(network, stage), train, val)
    if trainer.interrupted or not best.best_model_path:
        raise FlyobjError(f"training was interrupted in stage {stage.name!r}; start it again")
    state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    weights = {k.removeprefix("network."): v for k, v in state["state_dict"].items()}
    network.load_state_dict(weights)
    seconds = time.monotonic() - started
    return StageResult(
        stage,
        float(best.best_model_score or 0.0),
        int(state["epoch"]),
        seconds,
        n_photos * stage.epochs / seconds,
    )
