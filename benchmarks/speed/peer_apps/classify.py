"""The two classifiers that every server of the comparison runs.

    ours    `model.predictor` on the engine that a worker of ours chooses: scaled decoding, OpenVINO
    manual  what the servers' manuals show: Pillow, torchvision's transforms and network, eager PyTorch

The folder in `BENCH_MODEL` holds an unpacked archive and `manual.pt`; `BENCH_ENGINE` names one of them.
"""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

MODEL, ENGINE, THREADS = "BENCH_MODEL", "BENCH_ENGINE", "BENCH_THREADS"
Classify = Callable[[Sequence[bytes]], list[dict[str, Any]]]


def load_classifier() -> Classify:
    """Load what the environment names."""
    if threads := os.environ.get(THREADS):
        torch.set_num_threads(int(threads))
    return classifier(Path(os.environ[MODEL]), os.environ[ENGINE])


def classifier(folder: Path, engine: str) -> Classify:
    """Load "ours" or "manual" from `folder`; it answers a batch of photos with their best classes."""
    return _ours(folder) if engine == "ours" else _manual(folder)


def _ours(folder: Path) -> Classify:
    from model.answers import as_answer
    from model.bundle import read_bundle
    from model.engines import FOLDER, choose_engine
    from model.predictor import Predictor

    torch.set_num_threads(1)
    bundle = read_bundle(folder / "bundle")
    predictor = Predictor(bundle, choose_engine(bundle, folder / FOLDER))
    predictor.warm_up(8)

    def classify(photos: Sequence[bytes]) -> list[dict[str, Any]]:
        found = predictor.answer([predictor.prepare(photo) for photo in photos])
        return [as_answer(prediction, predictor.classes) for prediction in found]

    return classify


def _manual(folder: Path) -> Classify:
    from PIL import Image
    from torchvision import transforms
    from torchvision.models import mobilenet_v2

    network = mobilenet_v2()
    network.load_state_dict(torch.load(folder / "manual.pt", weights_only=True))
    network.eval()
    # The same as in TorchServe's own image_classifier, so that all answer alike.
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )

    @torch.inference_mode()
    def classify(photos: Sequence[bytes]) -> list[dict[str, Any]]:
        opened = [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]
        batch = torch.stack([transform(image) for image in opened])  # (N, 3, 224, 224)
        best, indices = torch.softmax(network(batch), dim=1).topk(5)  # (N, 5) each
        answers = []
        for row, names in zip(best.tolist(), indices.tolist(), strict=True):
            probabilities = {str(name): p for name, p in zip(names, row, strict=True)}
            answers.append(
                {"predicted": str(names[0]), "confidence": row[0], "probabilities": probabilities}
            )
        return answers

    return classify
