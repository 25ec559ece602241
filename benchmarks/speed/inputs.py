"""What the server benchmarks run on: a model in every form, and photos by width."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

from benchmarks.reliability.corpus import encode
from benchmarks.speed.peer_apps.classify import classifier
from benchmarks.speed.peers import WORKERS, Site
from loadtest.closed_loop import ExpectedAnswer, expected_answer
from model.answers import as_probabilities
from model.bundle import Bundle, ModelSpec, read_bundle, write_bundle
from model.errors import FlyobjError
from model.golden import Golden
from model.image import decode_photo
from model.limits import RGB
from model.network import Network
from model.predictor import Predictor
from model.preprocessing import Preprocessing
from serving.archive.build import build_archive, sha256
from serving.archive.layout import unpack
from serving.rollout.deployment import DeployedVersion, Deployment, write_deployment
from serving.stock import ROOT
from training.calibrate import answer_golden
from training.data.synthetic.draw import CLASSES, draw
from training.quantize import write_graph

HEIGHTS = {320: 240, 640: 480, 1024: 768, 1920: 1080}  # px, by width; 3/4 of others
SIZE = 224
PHOTOS = 24
MAIN_WIDTH = 640
_CONTRAST = 8.0  # of the random head; with more, bfloat16 differs by more than an engine may
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


def random_run(folder: Path) -> Path:
    """Make a run whose network is random but tells photos apart: speed doesn't depend on the weights."""
    torch.manual_seed(0)
    preprocessing, photos = Preprocessing(SIZE), draw_photos(MAIN_WIDTH)
    network = Network(len(CLASSES)).train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # a plain average, or all photos would look alike to it
    pixels = [preprocessing.resize(decode_photo(photo)) for photo in photos]
    batch = torch.from_numpy(preprocessing.normalize(np.stack(pixels))).permute(0, 3, 1, 2)
    with torch.no_grad():
        network(batch)
        network.eval()
        last = cast(torch.nn.Linear, network.head[-2])
        features = network.head[:-2](network.pool(network.features(batch)))
        last.weight *= _CONTRAST
        last.bias.copy_(-(features @ last.weight.T).mean(dim=0))  # no class is everybody's favourite
    spec = ModelSpec(CLASSES, preprocessing, "drawn photos", "benchmark", "now")
    predictor = Predictor(Bundle(spec, network, ()))
    golden = [_golden(predictor, f"{i}.jpg", photo) for i, photo in enumerate(photos[: len(CLASSES)])]
    (folder / "run").mkdir()
    write_bundle(Bundle(spec, network, tuple(golden)), folder / "run" / "bundle")
    return folder / "run"


def _golden(predictor: Predictor, name: str, photo: bytes) -> Golden:
    (found,) = predictor.answer([predictor.prepare(photo)])
    return Golden(name, photo, found.name, as_probabilities(predictor.classes, found.row))


def prepare(folder: Path, run: Path | None, precisions: Sequence[str] = ()) -> Site:
    """Package `run`, by default a random one, and the same features for the manuals' servers.

    In other `precisions` too; their accuracy isn't looked at.
    """
    run = run or random_run(folder)
    site = _package(run, folder)
    torch.manual_seed(0)
    network = mobilenet_v2()
    parent = read_bundle(site.model / "bundle")
    network.features.load_state_dict(parent.network.features.state_dict())
    torch.nn.init.normal_(network.classifier[1].weight, std=0.5)  # so that photos differ in class
    torch.save(network.state_dict(), site.model / "manual.pt")
    _archive_stock(site.model / "manual.pt", site.store)
    pixels = [parent.spec.preprocessing.load(photo) for photo in draw_photos(MAIN_WIDTH)]
    variants = {}
    for precision in precisions:
        (room := folder / precision).mkdir()
        bundle = answer_golden(write_graph(parent, room / "graph", precision, pixels))
        write_bundle(bundle, room / "run" / "bundle")
        variants[precision] = _package(room / "run", room)
    return replace(site, variants=variants)


def _package(run: Path, folder: Path) -> Site:
    store, model = folder / "store", folder / "model"
    archive = build_archive(run, "1.0", store)
    unpack(archive, model)
    record = DeployedVersion(archive.name, sha256(archive), workers=WORKERS)
    write_deployment(Deployment().with_version("1.0", record), store)
    return Site(folder, model, store)


def _archive_stock(weights: Path, store: Path) -> None:
    """Package an eager model for TorchServe's image_classifier as its manual says."""
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", "stock"]
    command += ["--version", "1.0", "--handler", "image_classifier", "--export-path", str(store)]
    command += ["--model-file", str(ROOT / "benchmarks" / "speed" / "peer_apps" / "stock_model.py")]
    command += ["--serialized-file", str(weights)]
    environment = {**os.environ, "TMPDIR": str(store)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise FlyobjError(f"torch-model-archiver failed: {ended.stderr.strip()[-500:]}")


def expected_answers(model: Path, engine: str, photos: Sequence[bytes]) -> list[ExpectedAnswer]:
    """Answer photos in this process: "ours" with the reference engine, "manual" as the manuals do."""
    if engine == "ours":
        predictor = Predictor(read_bundle(model / "bundle"))
        rows = [predictor.predict([predictor.prepare(photo)])[0] for photo in photos]
        answers = [as_probabilities(predictor.classes, row) for row in rows]
    else:
        classify = classifier(model, "manual")
        answers = [classify([photo])[0]["probabilities"] for photo in photos]
    return [expected_answer(answer) for answer in answers]
