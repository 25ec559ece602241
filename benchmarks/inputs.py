"""What the server benchmarks run on: a model in every form, and photos by width."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

from benchmarks.corpus import encode
from benchmarks.fuzz import small_run
from benchmarks.measure import Expected
from benchmarks.peer_apps.classify import classifier
from benchmarks.peers import Site
from model.bundle import read_bundle
from model.engines import REDUCED
from model.errors import FlyobjError
from model.image import RGB
from model.predictor import Predictor
from serving.archive import ROOT, build_archive, sha256
from serving.deployment import Deployed, Deployment, write_deployment
from training.synthetic import CLASSES, draw

HEIGHTS = {320: 240, 640: 480, 1024: 768, 1920: 1080}  # px, by width; 3/4 of others
SIZE = 224
PHOTOS = 24
QUALITY = 90


def draw_photos(width: int, n: int = PHOTOS) -> list[bytes]:
    """Draw JPEGs of one size; the same each time."""
    return [_jpeg(index, width, HEIGHTS.get(width, width * 3 // 4)) for index in range(n)]


def _jpeg(index: int, width: int, height: int) -> bytes:
    rng = np.random.default_rng([7, index])
    photo = cv2.resize(draw(CLASSES[index % len(CLASSES)], rng), (width, height))
    grain = rng.normal(0, 4, (height, width, 1))  # a sensor's, which enlarging has wiped out
    noisy: RGB = np.clip(photo + grain, 0, 255).astype(np.uint8)
    return encode(Image.fromarray(noisy), "JPEG", quality=QUALITY)


def prepare(folder: Path, run: Path | None) -> Site:
    """Package `run` (a small one is trained without), and the same features for the manuals' servers."""
    run = run or small_run(folder, SIZE)
    store, model = folder / "store", folder / "model"
    archive = build_archive(run, "1.0", store)
    with zipfile.ZipFile(archive) as files:
        files.extractall(model)
    record = Deployed(archive.name, sha256(archive))
    write_deployment(Deployment().with_version("1.0", record), store)
    torch.manual_seed(0)
    network = mobilenet_v2()
    network.features.load_state_dict(read_bundle(model / "bundle").network.features.state_dict())
    torch.nn.init.normal_(network.classifier[1].weight, std=0.5)  # so that photos differ in class
    torch.save(network.state_dict(), model / "manual.pt")
    _archive_stock(model / "manual.pt", store)
    return Site(folder, model, store)


def _archive_stock(weights: Path, store: Path) -> None:
    """Package an eager model for TorchServe's image_classifier as its manual says."""
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", "stock"]
    command += ["--version", "1.0", "--handler", "image_classifier", "--export-path", str(store)]
    command += ["--model-file", str(ROOT / "benchmarks" / "peer_apps" / "stock_model.py")]
    command += ["--serialized-file", str(weights)]
    environment = {**os.environ, "TMPDIR": str(store)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise FlyobjError(f"torch-model-archiver failed: {ended.stderr.strip()[-500:]}")


def expected_answers(model: Path, engine: str, photos: Sequence[bytes]) -> list[Expected]:
    """Answer photos in this process: "ours" with the reference engine, "manual" as the manuals do."""
    if engine == "ours":
        predictor = Predictor(read_bundle(model / "bundle"))
        rows = [predictor.predict([predictor.prepare(photo)])[0] for photo in photos]
        answers = [dict(zip(predictor.classes, map(float, row), strict=True)) for row in rows]
    else:
        classify = classifier(model, "manual")
        answers = [classify([photo])[0]["probabilities"] for photo in photos]
    return [_expected(answer) for answer in answers]


def _expected(probabilities: dict[str, float]) -> Expected:
    most = max(probabilities.values())
    level = frozenset(name for name, p in probabilities.items() if p >= most - REDUCED)
    return Expected(level, most)
