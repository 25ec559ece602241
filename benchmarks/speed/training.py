"""How fast `flyobj train` trains, next to what bounds it and to a plain loop.

Over DATA/train, in turns within one run, photos/s of each:

- train: the product's epoch, photos from disk through its loaders;
- memory: the same steps over batches that are in memory already, so that loading costs nothing. The
  share of it that `train` reaches is what loading leaves;
- plain: a loop as in torchvision's reference script (references/classification): Pillow, torchvision's
  transforms, normalised tensors from the loaders, contiguous fp32, nothing frozen, SGD.

They are given for each stage, and for a run of all of them. `--accuracy A` also runs both to a
validation accuracy of A, each epoch validated on the same photos, and gives the seconds each needed,
range tests included. The highest memory (PSS: pages that processes share count once) of this process and
its loaders is sampled once a second. The last line on standard output is one JSON document.

    python -m benchmarks.speed.training DATA --weights PATH [--size 128] [--turns 3] [--accuracy 0.8]
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.program import console, parser_of, run
from model.network import Network, load_pretrained
from model.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from serving.server.process_tree import pss_mib
from training.data.photos import Photo
from training.fit.checkpoint import StageProgress
from training.fit.distributed import launch
from training.fit.loaders import Batch, Batches
from training.fit.plan import Plan, make_plan
from training.fit.schedule import LADDER, Stage, stages_of
from training.fit.settings import TrainSettings
from training.fit.stage import StageLoop
from training.fit.trainer import Trainer

LR = 1e-3
PLAIN_LR, MOMENTUM = 0.01, 0.9
MAX_PLAIN_EPOCHS = 20


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="32")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="of each kind in a turn")
    parser.add_argument("--group-regex")
    parser.add_argument("--accuracy", type=float, help="also run both to this validation accuracy")
    arguments = parser.parse_args()
    run(lambda: measure(arguments))


def measure(a: argparse.Namespace) -> dict[str, Any]:
    """Let the three train."""
    settings = TrainSettings(
        *(a.weights, a.size),
        workers=a.workers,
        precision=a.precision,
        group_regex=a.group_regex,
        logger="csv",
        target=a.accuracy or 0.93,
    )
    plan = make_plan(a.data, settings)
    result: dict[str, Any] = {"size": a.size, "workers": a.workers, "precision": a.precision}
    with peak_memory(result):
        short = replace(plan, train=plan.train[:: max(1, len(plan.train) // (32 * a.steps))])
        result["stages"] = {name: rates(short, name, blocks, a.turns) for name, blocks, _ in LADDER}
        result["run"] = whole_run(result["stages"])
    if a.accuracy:
        result["seconds_to_accuracy"] = to_accuracy(plan, a.accuracy)
    return result


def rates(plan: Plan, name: str, trainable_blocks: int, turns: int) -> dict[str, float]:
    """Let the three take turns and give the median photos/s, and the medians of the turns' ratios."""
    with tempfile.TemporaryDirectory() as room:
        fabric, plan = launch(plan.settings, plan)
        trainer = Trainer(fabric, plan, Path(room))
        stage = Stage(name, 1, plan.settings.size, trainable_blocks)
        loop = trainer.stage_loop(stage, 0)
        held = InMemory(loop._train)
        found: dict[str, list[float]] = {"train": [], "memory": [], "plain": []}
        plain = Plain(plan)
        for turn in range(turns + 1):
            round_ = {"train": _epoch(loop)}
            from_disk, loop._train = loop._train, cast(Batches, held)
            round_["memory"] = _epoch(loop)
            loop._train = from_disk
            round_["plain"] = plain.epoch()[0]
            if turn:  # the first warms up
                for kind, value in round_.items():
                    found[kind].append(value)
            console.print(name, {kind: round(value, 1) for kind, value in round_.items()})
    medians = {kind: round(statistics.median(values), 1) for kind, values in found.items()}
    return {
        **medians,
        "share_of_memory": _ratio(found["train"], found["memory"]),
        "times_plain": _ratio(found["train"], found["plain"]),
    }


def whole_run(stages: dict[str, dict[str, float]]) -> dict[str, float]:
    """The two ratios over a run of all stages, each with its share of the epochs."""
    seconds = {
        kind: sum(share / stages[name][kind] for name, _, share in LADDER)
        for kind in ("train", "memory", "plain")
    }
    return {
        "share_of_memory": round(seconds["memory"] / seconds["train"], 3),
        "times_plain": round(seconds["plain"] / seconds["train"], 3),
    }


def to_accuracy(plan: Plan, accuracy: float) -> dict[str, float]:
    """Seconds until a validation accuracy is reached: by the schedule and by the plain loop."""
    with tempfile.TemporaryDirectory() as room:
        started = time.perf_counter()
        fabric, plan = launch(plan.settings, plan)
        trainer = Trainer(fabric, plan, Path(room))
        reached = _schedule(trainer, plan, accuracy)
        ours = time.perf_counter() - started
    started = time.perf_counter()
    plain, best, epochs = Plain(plan), 0.0, 0
    while best < accuracy and epochs < MAX_PLAIN_EPOCHS:
        plain.epoch()
        best, epochs = max(best, plain.accuracy()), epochs + 1
        console.print(f"plain epoch {epochs}: {best:.3f}")
    seconds = time.perf_counter() - started
    return {
        "train": round(ours, 1),
        "train_reached": reached,
        "plain": round(seconds, 1),
        "plain_reached": best,
        "plain_epochs": epochs,
        "times": round(seconds / ours, 2),
    }


def _schedule(trainer: Trainer, plan: Plan, accuracy: float) -> float:
    """Go through the stages until an epoch reaches the accuracy; range tests included."""
    best = 0.0
    for number, stage in enumerate(stages_of(plan.settings)):
        loop = trainer.stage_loop(stage, number)
        progress = StageProgress("", trainer.find_lr(loop, stage).suggestion, "range test")
        while len(progress.epochs) < stage.epochs:
            progress = loop.epoch(progress)
            best = max(best, progress.epochs[-1]["val_accuracy"])
            console.print(f"{stage.name} {len(progress.epochs)}: {best:.3f}")
            if best >= accuracy:
                return best
    return best


def _epoch(loop: StageLoop) -> float:
    started = time.perf_counter()
    _, _, photos = loop._train_epoch(LR, 0)
    return photos / (time.perf_counter() - started)


class InMemory:
    """An epoch's batches, loaded once."""

    def __init__(self, batches: Batches) -> None:
        """Load them."""
        self._batches: list[Batch] = list(batches)
        self.batch_sampler = batches.batch_sampler

    def __len__(self) -> int:
        """Count them."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """Hand them out."""
        return iter(self._batches)


class Files(Dataset[tuple[torch.Tensor, int]]):
    """Photos as torchvision's ImageFolder reads them."""

    def __init__(self, photos: tuple[Photo, ...], transform: Any) -> None:
        """Apply `transform` to Pillow's images."""
        self._photos, self._transform = photos, transform

    def __len__(self) -> int:
        """Count the photos."""
        return len(self._photos)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decode and transform."""
        photo = self._photos[index]
        with Image.open(photo.path) as image:
            return self._transform(image.convert("RGB")), photo.label


class Plain:
    """The reference script's loop."""

    def __init__(self, plan: Plan) -> None:
        """Start from the same weights."""
        size, settings = plan.settings.size, plan.settings
        last = (transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD))
        augment = transforms.Compose(
            [
                transforms.RandomResizedCrop(size),
                transforms.RandomHorizontalFlip(),
                *last,
                transforms.RandomErasing(0.1),
            ]
        )
        test = transforms.Compose([transforms.Resize((size, size)), *last])
        options: dict[str, Any] = {"batch_size": settings.batch_size, "num_workers": settings.workers}
        self._train = DataLoader(Files(plan.train, augment), shuffle=True, drop_last=True, **options)
        self._val = DataLoader(Files(plan.validation, test), **options)
        torch.manual_seed(settings.seed)
        self._network = Network(len(plan.classes))
        load_pretrained(self._network, settings.weights)
        self._optimizer = torch.optim.SGD(
            self._network.parameters(), PLAIN_LR, MOMENTUM, weight_decay=1e-4
        )

    def epoch(self) -> tuple[float, int]:
        """Train for one epoch; photos/s and photos."""
        started, photos = time.perf_counter(), 0
        self._network.train()
        for batch, labels in self._train:
            loss = nn.functional.nll_loss(self._network(batch), labels)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            self._optimizer.step()
            photos += len(labels)
        return photos / (time.perf_counter() - started), photos

    @torch.no_grad()
    def accuracy(self) -> float:
        """Validate."""
        self._network.eval()
        right = [(self._network(b).argmax(1) == labels).float().sum().item() for b, labels in self._val]
        return float(sum(right)) / len(cast(Files, self._val.dataset))


@contextmanager
def peak_memory(result: dict[str, Any]) -> Iterator[None]:
    """Note the highest memory of this process and its children together, MiB."""
    done, own = threading.Event(), psutil.Process()

    def watch() -> None:
        highest = 0
        while not done.wait(1):
            highest = max(highest, round(sum(pss_mib(own).values())))
            result["peak_pss_mib"] = highest

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _ratio(ours: list[float], other: list[float]) -> float:
    return round(statistics.median(o / x for o, x in zip(ours, other, strict=True)), 3)


if __name__ == "__main__":
    main()
