"""One stage: what is trainable, at which learning rate, the steps, validation, and what is kept.

With devices, processes and errors left out, the loop is

    for epoch in range(stage.epochs):
        for photos, labels in train:                         # (N, S, S, 3) uint8, (N,)
            lr = peak_lr * lr_scale(step, steps)             # of the schedule
            for group in optimizer.param_groups:             # one for each block of the network
                group["lr"] = lr * group["lr_scale"]         # of the block: layer decay
            logits = model(normalize(photos))                # (N, classes)
            loss = cross_entropy(logits, labels, class_weights)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(network)               # if it is asked for
        val_loss, val_accuracy = validate(average or network)

The learning rate rises for a tenth of the stage and then falls along a cosine to nothing (Loshchilov and
Hutter, "SGDR", ICLR 2017). A stage also ends when neither loss nor accuracy on the validation photos has
got better for `patience` epochs: the fall is where most is gained, so patience is for stages that gain
nothing. The best epoch is kept. Lightning Fabric brings devices, precision and processes; the loop is
ours, so that an epoch depends on nothing but (seed, stage, epoch) and the state before it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2

from model.errors import FlyobjError, InputError
from model.network import Network
from model.preprocessing import Preprocessing
from report.intervals import SHARE, Interval, mean_interval
from training.fit.checkpoint import StageProgress, State
from training.fit.loaders import Batch, Batches, Order, Unreadable, seed_of
from training.fit.lr_finder import STEPS, Curve, range_test
from training.fit.partially_frozen import PartiallyFrozen
from training.fit.schedule import Epoch, Stage, best_epoch, lr_scale
from training.fit.settings import TrainSettings
from training.fit.tracking import Tracker
from training.fit.transforms import Normalize

Model = Callable[[Tensor], Tensor]

WEIGHT_DECAY = 1e-2
# Alphas of torchvision's reference recipe (references/classification, 2021).
MIXERS = {"mixup": (v2.MixUp, 0.2), "cutmix": (v2.CutMix, 1.0)}


@dataclass(frozen=True)
class LoopContext:
    """What all stages have in common."""

    fabric: Fabric
    settings: TrainSettings
    class_weights: tuple[float, ...] | None
    unreadable: Unreadable
    tracker: Tracker
    groups: Sequence[int]  # the number of each validation photo's group


class StageLoop:
    """One stage under way."""

    def __init__(
        self,
        context: LoopContext,
        network: Network,
        stage: Stage,
        number: int,
        train: Batches,
        val: Batches,
    ) -> None:
        """Prepare `stage`, the run's `number`-th; `network` is trained in place."""
        self._context, self._stage, self._number = context, stage, number
        self._train, self._val = train, val
        self._network = network.to(context.fabric.device).to(memory_format=torch.channels_last)
        self._normalize = Normalize(Preprocessing(stage.size)).to(context.fabric.device)
        self._trained = PartiallyFrozen(network, stage.trainable_blocks)
        self._model = context.fabric.setup_module(self._trained)
        self._average = self._new_average()
        weights, self._mix = context.class_weights, None
        self._weights = None if weights is None else torch.tensor(weights, device=context.fabric.device)
        if context.settings.mix != "none":
            mixer, alpha = MIXERS[context.settings.mix]
            self._mix = mixer(alpha=alpha, num_classes=network.n_classes)
        self._optimizer = self._new_optimizer()

    @property
    def steps(self) -> int:
        """Count the steps of all its epochs."""
        return len(self._train) * self._stage.epochs

    def find_lr(self) -> Curve:
        """Run a range test and put everything back as it was, random number generators too."""
        before = _copy(self._network.state_dict())
        # A test's batches mustn't change the batch-norm statistics that are put back.
        state = before | {name: value.clone() for name, value in self._network.named_buffers()}
        start = {f"network.{name}": value for name, value in state.items()}  # of `PartiallyFrozen`
        with torch.random.fork_rng():
            self._seed(0, 0)
            curve = range_test(
                lambda batch, lr: self._step(batch, lr)[0],
                lambda batch: self._loss_of(partial(functional_call, self._trained, start), batch),
                self._train,
                self._context.tracker.track(range(STEPS), f"{self._stage.name} range test"),
            )
        self._network.load_state_dict(before)
        self._average = self._new_average()
        self._optimizer = self._new_optimizer()
        return curve

    def resume_from(self, progress: StageProgress) -> None:
        """Take the state that an earlier epoch has left; the network has its own already."""
        if progress.optimizer:
            self._optimizer.load_state_dict(progress.optimizer)
        if progress.average and self._average is not None:
            self._average.load_state_dict(progress.average)

    def epoch(self, progress: StageProgress) -> StageProgress:
        """Train for one epoch, validate, and return `progress` with both in it.

        Raises:
            FlyobjError: the loss is no number.
            InputError: too many photos have turned unreadable.
        """
        number, started = len(progress.epochs), time.monotonic()
        self._seed(1, number)
        loss, train_accuracy, photos = self._train_epoch(progress.lr, number)
        trained = time.monotonic()
        val_loss, accuracy, interval = self._validate()
        row: Epoch = {
            "epoch": number,
            "train_loss": loss,
            "train_accuracy": train_accuracy,  # while it learned, of augmented photos
            "val_loss": val_loss,
            "val_accuracy": accuracy,
            "val_accuracy_low": interval[0],  # 95 %, over groups
            "val_accuracy_high": interval[1],
            "photos_per_s": photos / (trained - started),
            "seconds": time.monotonic() - started,
        }
        epochs = [*progress.epochs, row]
        better = best_epoch(epochs) == number
        return replace(
            progress,
            epochs=epochs,
            best=_copy(self._network_to_keep().state_dict()) if better else progress.best,
            optimizer=self._optimizer.state_dict(),
            average=_copy(self._average.state_dict()) if self._average is not None else {},
        )

    def _train_epoch(self, peak_lr: float, number: int) -> tuple[float, float, int]:
        """Return mean loss, accuracy and the number of photos, over all processes."""
        steps, total, right, photos = len(self._train), 0.0, 0.0, 0
        batches = self._context.tracker.track(self._train, f"{self._stage.name} {number + 1}")
        for at, batch in enumerate(batches):
            loss, share, n = self._step(batch, peak_lr * lr_scale(number * steps + at, self.steps))
            if not math.isfinite(loss):
                raise FlyobjError(
                    f"the loss became {loss} in stage {self._stage.name!r} at a peak learning rate of "
                    f"{peak_lr:g}; what was reached before is kept: continue with --resume and a "
                    f"lower --lr, say {peak_lr / 3:.1g}"
                )
            total, right, photos = total + loss * n, right + share * n, photos + n
        if not photos:
            raise InputError("none of the training photos can be read any more; put them back")
        return total / photos, right / photos, photos

    def _step(self, batch: Batch, lr: float) -> tuple[float, float, int]:
        """Take one step on one batch; return its loss, accuracy and photos, over all processes."""
        self._report_unreadable(batch)
        fabric = self._context.fabric
        if len(batch.labels) < 2:  # batch-norm has nothing to average over
            if fabric.world_size > 1:  # the others would wait for ever
                raise InputError("a whole batch of photos can't be read any more; put them back")
            return 0.0, 0.0, 0
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]
        loss, right = self._loss(self._model, batch)
        fabric.backward(loss)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._network)
        figures = self._reduce(torch.stack([loss.detach(), right]), "mean").tolist()
        return figures[0], figures[1], len(batch.labels) * fabric.world_size

    def _loss(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and the share that is answered rightly, of this process."""
        device = self._context.fabric.device
        photos = self._normalize(batch.photos.to(device, non_blocking=True))
        labels = targets = batch.labels.to(device, non_blocking=True)
        if self._mix is not None:
            photos, targets = self._mix(photos, labels)  # (N,) -> (N, classes)
        smoothing = self._context.settings.label_smoothing
        # Log-probabilities; the softmax of these is the probabilities again, so the loss is their own.
        logits = model(photos)  # (N, classes)
        loss = F.cross_entropy(logits, targets, self._weights, label_smoothing=smoothing)
        return loss, (logits.detach().argmax(1) == labels).float().mean()

    @torch.no_grad()
    def _loss_of(self, model: Model, batch: Batch) -> float:
        """Return the loss of a batch that nothing is learned from, over all processes."""
        if len(batch.labels) < 2:
            return 0.0
        with self._context.fabric.autocast():
            loss, _ = self._loss(model, batch)
        return self._reduce(loss, "mean").item()

    @torch.no_grad()
    def _validate(self) -> tuple[float, float, Interval]:
        """Return loss and accuracy over all processes, and the 95 % interval over groups."""
        fabric = self._context.fabric
        self._average_statistics()
        network = self._network_to_keep()
        groups = torch.tensor(self._context.groups)
        tally = torch.zeros(3, int(groups.max()) + 1, dtype=torch.float64)  # photos, right, loss
        network.eval()
        for batch in self._val:
            self._report_unreadable(batch)
            if not len(batch.labels):
                continue
            labels = batch.labels.to(fabric.device)
            with fabric.autocast():
                answers = network(self._normalize(batch.photos.to(fabric.device))).float()
            loss = F.nll_loss(answers, labels, reduction="none")
            right = answers.argmax(1) == labels
            facts = torch.stack([torch.ones_like(loss), right.float(), loss]).double().cpu()
            tally.index_add_(1, groups[batch.numbers], facts)
        self._trained.train()
        photos, right, loss = self._reduce(tally.to(fabric.device), "sum").cpu().numpy()
        if not photos.sum():
            raise InputError("none of the validation photos can be read any more; put them back")
        interval = mean_interval(photos, right, SHARE, (0.0, 1.0))
        return float(loss.sum() / photos.sum()), float(right.sum() / photos.sum()), interval

    def _average_statistics(self) -> None:
        """Average the processes' batch-norm statistics; each has seen its own part of the photos."""
        for buffer in chain(self._network.buffers(), self._average.buffers() if self._average else ()):
            if buffer.is_floating_point():
                buffer.copy_(self._reduce(buffer, "mean"))

    def _reduce(self, value: Tensor, how: str) -> Tensor:
        """Take the mean or sum over all processes."""
        if self._context.fabric.world_size == 1:
            return value
        return cast(Tensor, self._context.fabric.all_reduce(value.clone(), reduce_op=how))

    def _new_optimizer(self) -> Any:
        groups = self._trained.groups(self._context.settings.layer_decay)
        optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
        return self._context.fabric.setup_optimizers(optimizer)

    def _new_average(self) -> AveragedModel | None:
        if not self._context.settings.ema:
            return None
        average = get_ema_multi_avg_fn(self._context.settings.ema)  # type: ignore[no-untyped-call]
        return AveragedModel(self._network, multi_avg_fn=average, use_buffers=True)

    def _network_to_keep(self) -> nn.Module:
        """The network whose answers count."""
        return self._network if self._average is None else self._average.module

    def _seed(self, purpose: int, epoch: int) -> None:
        """Let the order, augmentation, dropout and mixing follow from the seed, stage and epoch."""
        where = (self._context.settings.seed, self._number, purpose, epoch)
        order = self._train.batch_sampler
        assert isinstance(order, Order)
        order.seed = seed_of(*where)
        torch.manual_seed(seed_of(*where, self._context.fabric.global_rank))

    def _report_unreadable(self, batch: Batch) -> None:
        for skipped in self._context.unreadable.add(batch.unreadable):
            self._context.tracker.say(
                f"skipped: {str(skipped.path)!r} can't be read any more ({skipped.reason})"
            )


def _copy(state: State) -> State:
    return {name: value.detach().clone() for name, value in state.items()}
