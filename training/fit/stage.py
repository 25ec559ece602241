"""Fitting one stage: what is open, which rate, step, validation, and when it ends.

The rate rises for a tenth of the stage and then falls along a cosine to nothing (Loshchilov and Hutter,
"SGDR", ICLR 2017). A stage also ends when neither loss nor accuracy on the validation photos has got
better for `patience` epochs: the fall is where most is gained, so patience is for stages that gain
nothing. The best epoch is kept. Lightning Fabric brings devices, precision and processes; the loop is
ours, so that an epoch depends on nothing but (seed, stage, epoch) and the state before it.
"""

import math
import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from model.errors import FlyobjError, InputError
from model.network import Network
from model.preprocessing import Preprocessing
from training.fit.checkpoint import Epoch, Running, State
from training.fit.loaders import Batch, Batches, Order, Unreadable, seed_of
from training.fit.lr_finder import Curve, range_test
from training.fit.schedule import BLOCKS, Stage
from training.fit.settings import Settings
from training.fit.tracking import Tracker
from training.fit.transforms import Normalize

WARM_UP_SHARE = 0.1  # of a stage's steps
WEIGHT_DECAY = 1e-2
# Alphas of torchvision's reference recipe (references/classification, 2021).
MIXERS = {"mixup": (v2.MixUp, 0.2), "cutmix": (v2.CutMix, 1.0)}


class PartlyOpen(nn.Module):
    """The network with its lower blocks frozen: no gradients, and batch-norm keeps its statistics."""

    def __init__(self, network: Network, open_blocks: int) -> None:
        """Open the head and the uppermost `open_blocks` feature blocks."""
        super().__init__()
        self.network = network
        self._frozen = BLOCKS - open_blocks
        for block in network.features[: self._frozen]:
            block.requires_grad_(False)
        for block in network.features[self._frozen :]:
            block.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> "PartlyOpen":
        """Leave the frozen blocks in evaluation mode."""
        super().train(mode)
        self.network.features[: self._frozen].eval()
        return self

    def forward(self, photos: Tensor) -> Tensor:
        """(N, 3, S, S) photos -> (N, classes) log-probabilities."""
        with torch.no_grad():
            maps = self.network.features[: self._frozen](photos)
        maps = self.network.features[self._frozen :](maps)  # (N, 1280, S/32, S/32)
        answers: Tensor = self.network.head(maps.mean(dim=(2, 3)))
        return answers

    def groups(self, layer_decay: float) -> list[dict[str, object]]:
        """One group of parameters a block; `share` is its rate over the head's."""
        blocks = [self.network.head, *reversed(self.network.features[self._frozen :])]
        if layer_decay == 1:
            return [{"params": [p for block in blocks for p in block.parameters()], "share": 1.0}]
        return [
            {"params": list(block.parameters()), "share": layer_decay**depth}
            for depth, block in enumerate(blocks)
        ]


@dataclass(frozen=True)
class Job:
    """What all stages have in common."""

    fabric: Fabric
    settings: Settings
    class_weights: tuple[float, ...] | None
    unreadable: Unreadable
    tracker: Tracker


class Fitting:
    """One stage under way."""

    def __init__(
        self, job: Job, network: Network, stage: Stage, number: int, train: Batches, val: Batches
    ) -> None:
        """Open what `stage`, the run's `number`-th, opens; `network` is trained in place."""
        self._job, self._stage, self._number = job, stage, number
        self._train, self._val = train, val
        self._network = network.to(job.fabric.device).to(memory_format=torch.channels_last)
        self._normalize = Normalize(Preprocessing(stage.size)).to(job.fabric.device)
        self._open = PartlyOpen(network, stage.open_blocks)
        self._model = job.fabric.setup_module(self._open)
        self._average = self._new_average()
        weights = job.class_weights
        self._weights = None if weights is None else torch.tensor(weights, device=job.fabric.device)
        self._mix = None
        if job.settings.mix != "none":
            mixer, alpha = MIXERS[job.settings.mix]
            self._mix = mixer(alpha=alpha, num_classes=network.head[4].out_features)
        self._optimizer = self._new_optimizer()

    def find_rate(self) -> Curve:
        """Run a range test and put everything back as it was, random number generators too."""
        before = _copy(self._network.state_dict())
        with torch.random.fork_rng():
            self._seed(0, 0)
            curve = range_test(lambda batch, rate: self._step(batch, rate)[0], self._train)
        self._network.load_state_dict(before)
        self._average = self._new_average()
        self._optimizer = self._new_optimizer()
        return curve

    def go_on(self, running: Running) -> None:
        """Take the state that an earlier epoch has left; the network has its own already."""
        if running.optimizer:
            self._optimizer.load_state_dict(running.optimizer)
        if running.average and self._average is not None:
            self._average.load_state_dict(running.average)

    def epoch(self, running: Running) -> Running:
        """Train for one epoch, validate, and return `running` with both in it.

        Raises:
            FlyobjError: the loss is no number.
            InputError: too many photos have turned unreadable.
        """
        number, started = len(running.epochs), time.monotonic()
        self._seed(1, number)
        loss, photos = self._train_epoch(running.rate, number)
        trained = time.monotonic()
        val_loss, accuracy = self._validate()
        row: Epoch = {
            "epoch": number,
            "train_loss": loss,
            "val_loss": val_loss,
            "val_accuracy": accuracy,
            "photos_per_s": photos / (trained - started),
            "seconds": time.monotonic() - started,
        }
        epochs = [*running.epochs, row]
        better = best_epoch(epochs) == number
        return replace(
            running,
            epochs=epochs,
            best=_copy(self._kept().state_dict()) if better else running.best,
            optimizer=self._optimizer.state_dict(),
            average=_copy(self._average.state_dict()) if self._average is not None else {},
        )

    def _train_epoch(self, peak: float, number: int) -> tuple[float, int]:
        """Return the mean loss and the number of photos, over all processes."""
        steps, total, photos = len(self._train), 0.0, 0
        batches = self._job.tracker.track(self._train, f"{self._stage.name} {number + 1}")
        for at, batch in enumerate(batches):
            loss, n = self._step(batch, peak * self._share_of_peak(number * steps + at))
            if not math.isfinite(loss):
                raise FlyobjError(
                    f"the loss became {loss} in stage {self._stage.name!r} at a highest rate of "
                    f"{peak:g}; what was reached before is kept: go on with --resume and a lower "
                    f"--rate, say {peak / 3:.1g}"
                )
            total, photos = total + loss * n, photos + n
        if not photos:
            raise InputError("none of the training photos can be read any more; put them back")
        return total / photos, photos

    def _step(self, batch: Batch, rate: float) -> tuple[float, int]:
        """Take one step on one batch and return its loss and photos, over all processes."""
        self._note(batch)
        fabric = self._job.fabric
        if len(batch.labels) < 2:  # batch-norm has nothing to average over
            if fabric.world_size > 1:  # the others would wait for ever
                raise InputError("a whole batch of photos can't be read any more; put them back")
            return 0.0, 0
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        photos = self._normalize(batch.photos.to(fabric.device, non_blocking=True))
        labels = batch.labels.to(fabric.device, non_blocking=True)
        if self._mix is not None:
            photos, labels = self._mix(photos, labels)  # (N,) -> (N, classes)
        smoothing = self._job.settings.label_smoothing
        # The softmax of log-probabilities is the probabilities again, so this is their own loss.
        loss = F.cross_entropy(self._model(photos), labels, self._weights, label_smoothing=smoothing)
        fabric.backward(loss)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._network)
        return self._over_all(loss.detach(), "mean").item(), len(labels) * fabric.world_size

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Return loss and accuracy, summed over all processes."""
        fabric = self._job.fabric
        self._share_statistics()
        network = self._kept()
        sums = torch.zeros(3, dtype=torch.float64, device=fabric.device)  # loss, right answers, photos
        network.eval()
        for batch in self._val:
            self._note(batch)
            if not len(batch.labels):
                continue
            labels = batch.labels.to(fabric.device)
            with fabric.autocast():
                answers = network(self._normalize(batch.photos.to(fabric.device))).float()
            loss = F.nll_loss(answers, labels, reduction="sum")
            right = (answers.argmax(1) == labels).sum()
            sums += torch.stack([loss, right, torch.tensor(len(labels), device=fabric.device)])
        self._open.train()
        sums = self._over_all(sums, "sum")
        if not sums[2]:
            raise InputError("none of the validation photos can be read any more; put them back")
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    def _share_statistics(self) -> None:
        """Average the processes' batch-norm statistics; each has seen its own part of the photos."""
        for buffer in chain(self._network.buffers(), self._average.buffers() if self._average else ()):
            if buffer.is_floating_point():
                buffer.copy_(self._over_all(buffer, "mean"))

    def _over_all(self, value: Tensor, how: str) -> Tensor:
        """Take the mean or sum over all processes."""
        if self._job.fabric.world_size == 1:
            return value
        return cast(Tensor, self._job.fabric.all_reduce(value.clone(), reduce_op=how))

    def _share_of_peak(self, step: int) -> float:
        """Rise in a line, fall along a cosine."""
        steps = len(self._train) * self._stage.epochs
        warm_up = max(1.0, WARM_UP_SHARE * steps)
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1.0, steps - warm_up)))

    def _new_optimizer(self) -> Any:
        groups = self._open.groups(self._job.settings.layer_decay)
        optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
        return self._job.fabric.setup_optimizers(optimizer)

    def _new_average(self) -> AveragedModel | None:
        if not self._job.settings.ema:
            return None
        average = get_ema_multi_avg_fn(self._job.settings.ema)  # type: ignore[no-untyped-call]
        return AveragedModel(self._network, multi_avg_fn=average, use_buffers=True)

    def _kept(self) -> nn.Module:
        """The network whose answers count."""
        return self._network if self._average is None else self._average.module

    def _seed(self, purpose: int, epoch: int) -> None:
        """Let the order, augmentation, dropout and mixing follow from the seed, stage and epoch."""
        where = (self._job.settings.seed, self._number, purpose, epoch)
        order = self._train.batch_sampler
        assert isinstance(order, Order)
        order.seed = seed_of(*where)
        torch.manual_seed(seed_of(*where, self._job.fabric.global_rank))

    def _note(self, batch: Batch) -> None:
        for skipped in self._job.unreadable.add(batch.unreadable):
            self._job.tracker.say(
                f"skipped: {str(skipped.path)!r} can't be read any more ({skipped.reason})"
            )


def best_epoch(epochs: list[Epoch]) -> int:
    """Number the epoch of the highest accuracy; of several, that of the lowest loss."""
    return max(range(len(epochs)), key=lambda i: (epochs[i]["val_accuracy"], -epochs[i]["val_loss"]))


def stuck(epochs: list[Epoch], patience: int) -> bool:
    """Tell whether neither loss nor accuracy has got better in the last `patience` epochs."""
    if len(epochs) <= patience:
        return False
    before, last = epochs[:-patience], epochs[-patience:]
    accuracy = max(e["val_accuracy"] for e in last) > max(e["val_accuracy"] for e in before)
    return not accuracy and min(e["val_loss"] for e in last) >= min(e["val_loss"] for e in before)


def _copy(state: State) -> State:
    return {name: value.detach().clone() for name, value in state.items()}
