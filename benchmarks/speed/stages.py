"""Where the milliseconds of one answer go, by width of the photo: `python -m benchmarks.speed.stages`.

The handler answers batches in this process from what TorchServe's worker receives, with a clock around
each stage; a real server then answers the same photos under load, and its processes' CPU time says what
the rest costs: the worker's own protocol, and Java. All figures are CPU-milliseconds per answer, so that
neighbours don't count. Pillow's time for decoding and resizing the same photos is given as well.
The last line on standard output is one JSON document.

    python -m benchmarks.speed.stages [--run RUN] [--widths 320 640 1024 1920] [--seconds 10]
"""

import io
import json
import logging
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from PIL import Image
from rich.table import Table
from ts.context import Context
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.service import Service

import handler.flyobj_handler
import model.image
from benchmarks.program import console, parser_of, run
from benchmarks.speed.inputs import SIZE, draw_photos, expected_answers, prepare
from benchmarks.speed.peers import Contender, Site, start_ours
from loadtest.closed_loop import put_load
from model.errors import FlyobjError, InputError
from model.files import write_json
from model.predictor import Predictor
from model.preprocessing import Preprocessing
from report.charts import panels, save_png, stack_bars
from serving.archive.layout import CONFIG, MANIFEST
from serving.server.process_tree import cpu_s
from serving.stock import stock_file

BATCH, CLIENTS = 8, 32
BATCHES = 25  # in this process; the median counts
# What is timed, outermost first: a stage's time is what its own inner stages leave of it.
STAGES: dict[str, list[tuple[Any, str]]] = {
    "request": [(handler.flyobj_handler, "read_request"), (handler.flyobj_handler, "check_pixels")],
    "header": [(model.image, "_open")],
    "decode": [(model.image, "decode_photo"), (model.image, "decode_plainly")],
    "resize": [(Preprocessing, "resize")],
    "inference": [(Predictor, "predict")],
    "answer": [(handler.flyobj_handler, "respond")],
}
REST = ("handler, rest", "worker's protocol", "Java")


class Clock:
    """CPU time by stage, without what an inner stage takes."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.spent: dict[str, float] = {}
        self._inner = [0.0]

    def wrap(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `work` so that its time counts as `stage`."""

        def timed(*args: Any, **more: Any) -> Any:
            self._inner.append(0.0)
            started = time.process_time()
            try:
                return work(*args, **more)
            finally:
                took = time.process_time() - started
                self.spent[stage] = self.spent.get(stage, 0.0) + took - self._inner.pop()
                self._inner[-1] += took

        return timed


def load_handler(folder: Path) -> Callable[[Sequence[bytes]], Any]:
    """Load an unpacked archive's handler, to answer photos from what TorchServe's worker receives."""
    manifest = json.loads((folder / MANIFEST).read_text())
    config = yaml.safe_load((folder / CONFIG).read_text())
    metrics = MetricsCacheYamlImpl(str(stock_file("handler/metrics.yaml")))
    metrics.initialize_cache()
    context = Context("m", str(folder), manifest, BATCH, None, "0.12", True, metrics, config)
    worker = handler.flyobj_handler.FlyingObjectsHandler()
    worker.initialize(context)

    def answer(photos: Sequence[bytes]) -> Any:
        bodies = [{"name": "body", "contentType": "image/jpeg", "value": bytearray(p)} for p in photos]
        rows = [{"requestId": b"0", "headers": [], "parameters": [body]} for body in bodies]
        context.request_processor, batch, context.request_ids = Service.retrieve_data_for_inference(rows)
        return worker.handle(batch, context)

    return answer


def time_handler(given: Site, photos: Sequence[bytes]) -> dict[str, float]:
    """Time the handler's stages on batches of photos: ms an answer, medians over batches."""
    answer, rng = load_handler(given.model), random.Random(0)
    answer(photos[:BATCH])
    rows: list[dict[str, float]] = []
    for _ in range(BATCHES):
        clock, batch = Clock(), rng.choices(photos, k=BATCH)
        with ExitStack() as stack:
            for stage, places in STAGES.items():
                for owner, name in places:
                    timed = clock.wrap(stage, getattr(owner, name))
                    stack.enter_context(patch.object(owner, name, timed))
            started = time.process_time()
            answers = answer(batch)
            whole = time.process_time() - started
        clock.wrap("answer", json.dumps)(answers)  # the worker does it with each batch
        rows.append({**clock.spent, REST[0]: whole - sum(clock.spent.values())})
    return {
        stage: max(0.0, float(np.median([row[stage] for row in rows]))) / BATCH * 1000
        for stage in rows[0]
    }


def time_pillow(photos: Sequence[bytes]) -> float:
    """Decode and resize with Pillow alone: ms of CPU a photo, the median."""
    times = []
    for photo in photos:
        started = time.process_time()
        Image.open(io.BytesIO(photo)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        times.append(time.process_time() - started)
    return float(np.median(times)) * 1000


def time_server(given: Site, widths: Sequence[int], seconds: float) -> dict[int, dict[str, float]]:
    """Let a real server answer: CPU-ms per answer of "python" and "java", by width."""
    rows: dict[int, dict[str, float]] = {}
    running = start_ours(Contender("flying-objects", start_ours), given)
    try:
        for width in (widths[0], *widths):  # the first load warms Java up
            photos = draw_photos(width)
            expected = expected_answers(given.model, "ours", photos)
            before = cpu_s(running.root)
            load = put_load(running.endpoint, list(zip(photos, expected, strict=True)), CLIENTS, seconds)
            used = {name: s - before[name] for name, s in cpu_s(running.root).items()}
            if load.faults:
                raise FlyobjError(f"{len(load.faults)} wrong answers at {width} px: {load.faults[0]}")
            n = len(load.latencies_s)
            rows[width] = {
                "python": sum(s for name, s in used.items() if "java" not in name) / n * 1000,
                "java": used.get("java", 0.0) / n * 1000,
            }
            console.print(f"{width} px: {n} answers served")
    finally:
        running.stop()
    return rows


def measure(given: Site, widths: Sequence[int], seconds: float) -> dict[str, Any]:
    """Time every stage at every width."""
    torch.set_num_threads(1)
    rows = {}
    with Path("/dev/null").open("w") as nowhere:  # as TorchServe's worker logs, but for where it goes
        logging.basicConfig(stream=nowhere, format="%(message)s", level=logging.INFO, force=True)
        for width in widths:
            photos = draw_photos(width)
            rows[width] = time_handler(given, photos)
            rows[width]["pillow"] = time_pillow(photos)
            console.print(f"{width} px: handler timed")
    for width, used in time_server(given, widths, seconds).items():
        pillow = rows[width].pop("pillow")
        in_python = sum(rows[width].values())
        rows[width][REST[1]] = max(0.0, used["python"] - in_python)
        rows[width][REST[2]] = used["java"]
        rows[width] = {stage: round(ms, 3) for stage, ms in rows[width].items()}
        rows[width]["all"] = round(used["python"] + used["java"], 3)
        rows[width]["pillow's decode and resize"] = round(pillow, 3)
    return {"unit": "CPU-ms per answer", "batch": BATCH, "clients": CLIENTS, "widths": rows}


def draw_picture(document: dict[str, Any], path: Path) -> None:
    """Stack the stages, one bar a width."""
    rows = document["widths"]
    figure, (axes,) = panels((9, 0.7 * len(rows) + 1.8))
    parts = {stage: [row.get(stage, 0.0) for row in rows.values()] for stage in (*STAGES, *REST)}
    stack_bars(axes, [f"{width} px" for width in rows], parts, [f"C{i}" for i in range(len(parts))])
    axes.set_xlabel("CPU-ms per answer")
    axes.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
    save_png(figure, path)


def print_table(document: dict[str, Any]) -> None:
    """Print a row a stage, a column a width."""
    rows = document["widths"]
    table = Table("CPU-ms per answer", *(f"{width} px" for width in rows))
    for stage in (*STAGES, *REST, "all", "pillow's decode and resize"):
        table.add_row(stage, *(f"{row.get(stage, 0):.2f}" for row in rows.values()))
    console.print(table)


def main() -> None:
    """Prepare, measure, report."""
    parser = parser_of(__doc__)
    parser.add_argument("--run", type=Path, help="of `flyobj train`; a random network by default")
    parser.add_argument("--widths", type=int, nargs="+", default=[320, 640, 1024, 1920], help="px")
    parser.add_argument("--seconds", type=float, default=10, help="of load at each width")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="for picture and figures")
    arguments = parser.parse_args()

    def time_stages() -> dict[str, Any]:
        if min(arguments.widths) < 32 or arguments.seconds <= 0:
            raise InputError("widths must be 32 px or more, seconds above 0")
        with tempfile.TemporaryDirectory(prefix="flyobj-stages-") as name:
            console.print("preparing model and photos")
            return measure(prepare(Path(name), arguments.run), arguments.widths, arguments.seconds)

    def show(document: dict[str, Any]) -> None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_json(document, arguments.out / "stages.json")
        print_table(document)
        draw_picture(document, arguments.out / "stages.png")

    run(time_stages, show)


if __name__ == "__main__":
    main()
