"""One step of each recipe, to the last digit: what is learned from is what the recipe says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torchvision.transforms import v2

from model.network import Network
from model.preprocessing import Preprocessing
from training.data.photos import Photo
from training.fit.checkpoint import StageProgress
from training.fit.loaders import Order, PhotoDataset, Unreadable, loader, seed_of
from training.fit.schedule import Stage
from training.fit.settings import TrainSettings
from training.fit.stage import LoopContext, StageLoop
from training.fit.tracking import Tracker
from training.fit.transforms import Normalize
from training.fit.transforms import test_transform as eval_transform

CLASSES, PHOTOS = 2, 6
PROGRESS = StageProgress("", 1e-2, "given")
MakeLoop = Callable[..., StageLoop]


@pytest.fixture
def batch(photo_folder: Callable[..., Path]) -> PhotoDataset:
    """Six photos, four of them of the first class, as they are served."""
    data = photo_folder(train={"a": 4, "b": 2})
    photos = [Photo(p, int(p.parent.name == "b")) for p in sorted(data.rglob("*.jpg"))]
    return PhotoDataset(photos, eval_transform(Preprocessing(32)))


@pytest.fixture
def loop(batch: PhotoDataset, tmp_path: Path) -> MakeLoop:
    """A stage of steps with `n` photos each; two processes would be no different."""

    def make(network: Network, n: int = PHOTOS, weights: object = None, **settings: Any) -> StageLoop:
        fabric = Fabric(accelerator="cpu", devices=1)
        tools = Unreadable(100), Tracker(tmp_path, "csv", {}), range(PHOTOS)
        context = LoopContext(fabric, TrainSettings(**settings), weights, *tools)
        train, val = (loader(batch, Order(PHOTOS, n, shuffle=shuffle), 0) for shuffle in (True, False))
        return StageLoop(context, network, Stage("whole", 2, 32), 0, train, val)

    return make


def first_batch(batch: PhotoDataset) -> tuple[Tensor, Tensor]:
    """The batch of the first step in the order that it has there, normalised, and its labels."""
    order = Order(PHOTOS, PHOTOS)
    order.seed = seed_of(0, 0, 1, 0)
    (rows,) = loader(batch, order, 0)
    return Normalize(Preprocessing(32))(rows.photos), rows.labels


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(CLASSES)[labels]


@pytest.mark.parametrize(
    ("recipe", "weights"),
    [
        ({}, None),
        ({}, (0.5, 3.0)),
        ({"label_smoothing": 0.1}, None),
        ({"mix": "mixup"}, None),
        ({"mix": "cutmix"}, None),
    ],
    ids=["plain", "weights", "smoothing", "mixup", "cutmix"],
)
def test_the_loss_of_a_step(
    loop: MakeLoop, batch: PhotoDataset, recipe: dict[str, Any], weights: tuple[float, ...] | None
) -> None:
    torch.manual_seed(0)
    network = Network(CLASSES, dropout=0.0)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    found = loop(network, weights=weights, **recipe).epoch(PROGRESS).epochs[0]["train_loss"]

    network.load_state_dict(start)
    photos, labels = first_batch(batch)
    targets = one_hot(labels)
    if mix := recipe.get("mix"):
        torch.manual_seed(seed_of(0, 0, 1, 0, 0))
        mixer = (
            v2.MixUp(alpha=0.2, num_classes=2) if mix == "mixup" else v2.CutMix(alpha=1.0, num_classes=2)
        )
        photos, targets = mixer(photos, labels)
        assert not torch.equal(targets, one_hot(labels))
    smoothing = recipe.get("label_smoothing", 0.0)
    targets = (1 - smoothing) * targets + smoothing / CLASSES
    share = torch.ones(PHOTOS) if weights is None else torch.tensor(weights)[labels]
    losses = -(targets * network.train()(photos).detach()).sum(1)
    assert found == pytest.approx(float((share * losses).sum() / share.sum()), abs=1e-5)


def test_the_moving_average(loop: MakeLoop) -> None:
    """Of the weights after each step, the first of them to begin with."""
    torch.manual_seed(0)
    network = Network(CLASSES, dropout=0.0)
    seen: list[dict[str, Tensor]] = []

    def note(module: Network, _: object) -> None:
        if module.training:
            seen.append({name: p.detach().clone() for name, p in network.named_parameters()})

    network.head.register_forward_pre_hook(note)
    done = loop(network, n=2, ema=0.75).epoch(PROGRESS)
    after = [*seen[1:], dict(network.named_parameters())]  # each of three steps
    assert len(after) == 3
    for name, kept in done.best.items():
        if name in after[0]:
            expected = after[0][name]
            for weights in after[1:]:
                expected = 0.75 * expected + 0.25 * weights[name]
            torch.testing.assert_close(kept, expected, rtol=0, atol=1e-6)
