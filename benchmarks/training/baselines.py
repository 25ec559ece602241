"""What others do with the same photos and weights, for `benchmarks.training.study`.

probe        logistic regression on the features of the frozen network, photos resized to a square
torchvision  its reference recipe (references/classification, train.py and presets.py): random resized
             crop and flip, SGD 0.9 with weight decay 1e-4 on everything, the learning rate a tenth
             after each third of the epochs (there 30 of 90); from 0.01, the usual tenth of its 0.1
fastai       its `fine_tune`, see `benchmarks.training.fastai_baseline`
fastai-find  the same at the learning rate that its `lr_find` suggests

All train on the photos for validation too, as none of them chooses by it.
"""

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2
from torchvision.transforms import v2

from model.errors import FlyobjError
from model.image import decode_photo
from model.network import Network, load_pretrained
from model.preprocessing import Preprocessing
from training.data.photos import Photo
from training.fit.plan import Plan

BATCH = 32
LR = 1e-2
_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def probe(plan: Plan, held: tuple[Photo, ...]) -> dict[str, Any]:
    """Fit a linear probe; return its probabilities."""
    network = _features(plan)
    train = plan.train + plan.validation
    scaler = StandardScaler()
    seen = scaler.fit_transform(_pooled(network, plan, train))
    model = LogisticRegression(C=0.01, max_iter=2000).fit(seen, [p.label for p in train])
    return {
        "probabilities": model.predict_proba(scaler.transform(_pooled(network, plan, held)))
        .round(5)
        .tolist()
    }


def torchvision(plan: Plan, held: tuple[Photo, ...]) -> dict[str, Any]:
    """Fine-tune as torchvision's reference does, for as many epochs; the last one is kept."""
    settings = plan.settings
    torch.manual_seed(settings.seed)
    network = mobilenet_v2(num_classes=len(plan.classes))
    network.features = _features(plan)
    network.to(_DEVICE, memory_format=torch.channels_last)
    photos = [decode_photo(photo.path.read_bytes()) for photo in plan.train + plan.validation]
    labels = torch.tensor([photo.label for photo in plan.train + plan.validation], device=_DEVICE)
    crop = v2.Compose([v2.RandomResizedCrop(settings.size, antialias=True), v2.RandomHorizontalFlip()])
    optimizer = torch.optim.SGD(network.parameters(), LR, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, max(1, settings.epochs // 3), 0.1)
    normalize = _Normalize(plan)
    rng = np.random.default_rng(settings.seed)
    for _ in range(settings.epochs):
        network.train()
        order = rng.permutation(len(photos))
        for start in range(0, len(photos) - BATCH + 1, BATCH):
            at = order[start : start + BATCH].tolist()
            batch = torch.stack([crop(torch.from_numpy(photos[i]).permute(2, 0, 1)) for i in at])
            loss = F.cross_entropy(network(normalize(batch)), labels[at])
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        schedule.step()
    network.eval()
    with torch.inference_mode():
        logits = [network(normalize(batch)) for batch in _batches(plan, held)]
    return {"probabilities": torch.cat(logits).double().softmax(1).cpu().numpy().round(5).tolist()}


def fastai(plan: Plan, held: tuple[Photo, ...], python: str, find_lr: bool) -> dict[str, Any]:
    """Fine-tune as fastai does, by the interpreter of an environment that has it."""
    settings = plan.settings
    train, validation = ([(str(p.path), p.label) for p in x] for x in (plan.train, plan.validation))
    task = {
        "train": train + validation,
        "validation": validation,
        "held": [str(photo.path) for photo in held],
        "classes": len(plan.classes),
        "weights": settings.weights,
        "size": settings.size,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "find_lr": find_lr,
        "threads": torch.get_num_threads(),
    }
    program = Path(__file__).with_name("fastai_baseline.py")
    done = subprocess.run(
        [python, str(program)], input=json.dumps(task), text=True, stdout=subprocess.PIPE
    )
    if done.returncode:
        raise FlyobjError(f"fastai's baseline has failed in {python!r}; its own error is above")
    return {"probabilities": json.loads(done.stdout)}


Baseline = Callable[[Plan, tuple[Photo, ...]], dict[str, Any]]
BASELINES: dict[str, Baseline] = {
    "probe": probe,
    "torchvision": torchvision,
}


def use_fastai(python: str) -> None:
    """Let `python`, an interpreter that has fastai 2.8, be asked for what fastai does."""
    BASELINES["fastai"] = partial(fastai, python=python, find_lr=False)
    BASELINES["fastai-find"] = partial(fastai, python=python, find_lr=True)


use_fastai("python")


class _Normalize:
    def __init__(self, plan: Plan) -> None:
        preprocessing = Preprocessing(plan.settings.size)
        self._mean = torch.tensor(preprocessing.mean, device=_DEVICE).view(3, 1, 1) * 255
        self._std = torch.tensor(preprocessing.std, device=_DEVICE).view(3, 1, 1) * 255

    def __call__(self, photos: Tensor) -> Tensor:
        """(N, 3, S, S) uint8 -> float32, channels last in memory."""
        pixels = (photos.to(_DEVICE).float() - self._mean) / self._std
        return pixels.contiguous(memory_format=torch.channels_last)


def _features(plan: Plan) -> nn.Sequential:
    network = Network(len(plan.classes))
    load_pretrained(network, plan.settings.weights)
    return network.features


def _batches(plan: Plan, photos: tuple[Photo, ...]) -> list[Tensor]:
    """(N, 3, S, S) uint8, resized as the product does."""
    preprocessing = Preprocessing(plan.settings.size)
    pixels = [preprocessing.resize(decode_photo(photo.path.read_bytes())) for photo in photos]
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return [stacked[i : i + BATCH] for i in range(0, len(photos), BATCH)]


@torch.inference_mode()
def _pooled(features: nn.Sequential, plan: Plan, photos: tuple[Photo, ...]) -> Any:
    """(photos, 1280) features."""
    normalize = _Normalize(plan)
    features.to(_DEVICE).eval()
    maps = [features(normalize(batch)).mean((2, 3)) for batch in _batches(plan, photos)]
    return torch.cat(maps).cpu().numpy()
