"""What the handler's checks and metrics cost: its time for a photo with and without them.

Each round answers the same batches in four ways, one after the other in random order, so that a busy
machine slows all alike. CPU time counts, wall time is given as well.

    bare      decode with simplejpeg, resize, network, answer: no header, limits, EXIF, errors
    checked   the handler without metrics
    full      the handler with metrics, written as TorchServe's worker does, but to /dev/null
    form      as full, each photo in a form

The self-check at a worker's start is timed once. The last line on standard output is one JSON document.

    python -m benchmarks.speed.handler ARCHIVE PHOTOS [--rounds 30] [--batch 8]
"""

import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import simplejpeg
import torch
import yaml
from ts.context import Context
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.service import Service

import handler
from benchmarks.program import parser_of, run
from handler.flyobj_handler import FlyingObjectsHandler
from model.answers import as_probabilities
from model.bundle import read_bundle
from model.photo_files import find_photos, spread
from model.predictor import Predictor
from model.preprocessing import Preprocessing
from serving.archive.layout import CONFIG, MANIFEST, unpack

Work = Callable[[Sequence[bytes]], Any]


def without_checks(predictor: Predictor, preprocessing: Preprocessing) -> Work:
    """Do the least that gives an answer."""

    def work(photos: Sequence[bytes]) -> Any:
        pixels = [preprocessing.resize(simplejpeg.decode_jpeg(photo, "RGB")) for photo in photos]
        return [as_probabilities(predictor.classes, row) for row in predictor.predict(pixels)]

    return work


def through_handler(folder: Path, metrics: bool, in_form: bool = False) -> Work:
    """Answer through the handler, from what TorchServe's worker receives."""
    manifest = json.loads((folder / MANIFEST).read_text())
    config = yaml.safe_load((folder / CONFIG).read_text())
    cache = None
    if metrics:
        cache = MetricsCacheYamlImpl(str(Path(handler.__file__).with_name("metrics.yaml")))
        cache.initialize_cache()
    context = Context("m", str(folder), manifest, 8, None, "0.12", True, cache, config)
    worker = FlyingObjectsHandler()
    worker.initialize(context)
    headers = [{"name": b"Content-Type", "value": b"multipart/form-data; boundary=x"}] if in_form else []
    name = "file1" if in_form else "body"

    def work(photos: Sequence[bytes]) -> Any:
        rows = [
            {
                "requestId": b"0",
                "headers": headers,
                "parameters": [{"name": name, "contentType": "image/jpeg", "value": bytearray(photo)}],
            }
            for photo in photos
        ]
        context.request_processor, batch, context.request_ids = Service.retrieve_data_for_inference(rows)
        return worker.handle(batch, context)

    return work


def measure(ways: dict[str, Work], photos: Sequence[bytes], rounds: int, batch: int) -> dict[str, Any]:
    """Time every way on the same batches; ms a photo, the median of all rounds and its spread."""
    rng = random.Random(0)
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        chosen = [rng.choices(photos, k=batch) for _ in range(4)]
        for name in rng.sample(list(ways), len(ways)):
            started, started_cpu = time.perf_counter(), time.process_time()
            for some in chosen:
                ways[name](some)
            n = len(chosen) * batch
            cpu[name].append((time.process_time() - started_cpu) / n * 1000)
            wall[name].append((time.perf_counter() - started) / n * 1000)
    return {
        name: {
            "cpu_ms": round(statistics.median(cpu[name]), 3),
            "cpu_ms_quartiles": [round(q, 3) for q in statistics.quantiles(cpu[name], n=4)[::2]],
            "wall_ms": round(statistics.median(wall[name]), 3),
        }
        for name in ways
    }


def compare_ways(archive: Path, photo_folder: Path, rounds: int, batch: int) -> dict[str, Any]:
    """Unpack the archive and answer its photos in all four ways."""
    torch.set_num_threads(1)
    photos = [path.read_bytes() for path in spread(find_photos(photo_folder), 500)]
    with tempfile.TemporaryDirectory() as name, Path("/dev/null").open("w") as nowhere:
        folder = Path(name)
        unpack(archive, folder)
        # As TorchServe's worker logs, but for where it goes.
        logging.basicConfig(stream=nowhere, format="%(message)s", level=logging.INFO, force=True)
        bundle = read_bundle(folder / "bundle")
        predictor = Predictor(bundle)
        started = time.process_time()
        predictor.check(bundle.golden)
        self_check_s = time.process_time() - started
        ways = {
            "bare": without_checks(predictor, bundle.spec.preprocessing),
            "checked": through_handler(folder, metrics=False),
            "full": through_handler(folder, metrics=True),
            "form": through_handler(folder, metrics=True, in_form=True),
        }
        figures = measure(ways, photos, rounds, batch)
    least = figures["bare"]["cpu_ms"]
    return {
        "batch": batch,
        "size": bundle.spec.preprocessing.size,
        "photos": len(photos),
        "per_photo": figures,
        "share_above_bare": {
            name: round(figures[name]["cpu_ms"] / least - 1, 4) for name in ways if name != "bare"
        },
        "self_check_s": round(self_check_s, 3),
        "golden_photos": len(bundle.golden),
    }


def main() -> None:
    """Read the options and measure."""
    parser = parser_of(__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("photos", type=Path, help="folder of JPEGs")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    a = parser.parse_args()
    run(lambda: compare_ways(a.archive, a.photos, a.rounds, a.batch))


if __name__ == "__main__":
    main()
