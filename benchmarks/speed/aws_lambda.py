"""The Lambda function beside the server: the same answers? how fast, how much memory, at what cost?

The function runs as in its image: a folder with `model/` and `deploy/aws_lambda/` alone, AWS's runtime
client, and a runtime API on this machine (`benchmarks.speed.lambda_runtime`).

    parity   every photo as form and as body against the archive by itself, each probability
    cold     from a new process to its first answer, several times
    warm     wall and CPU time of one answer after the other, as Lambda sends them
    server   CPU time of an answer of TorchServe with the same archive under load
    cost     of a million photos with each; the prices are examples, to be given as options

Give --python the interpreter of an environment made from deploy/aws_lambda/requirements.txt, or memory
is that of whatever else is installed. The last line on standard output is one JSON document.

    python -m benchmarks.speed.aws_lambda ARCHIVE PHOTOS [--python env/bin/python] \
        [--out runs/aws_lambda]
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.progress import track
from rich.table import Table

from benchmarks.program import console, parser_of, run
from benchmarks.speed.lambda_runtime import Function, form_event, http_event, start_function
from loadtest.closed_loop import ExpectedAnswer, endpoint_of, put_load
from model.errors import FlyobjError, InputError
from model.files import write_json
from model.golden import TOLERANCE
from model.photo_files import find_photos
from serving.archive.isolated import open_archive
from serving.archive.layout import unpack
from serving.rollout.operations import deploy
from serving.server.latency import percentile
from serving.server.process_tree import cpu_s, pss_mib
from serving.server.temporary import temporary_server
from serving.stock import ROOT

CLIENTS = 8


def make_image(archive: Path, folder: Path) -> dict[str, str]:
    """Make the image's working folder, the archive unpacked in it; returns the environment."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "model", folder / "model", ignore=ignored)
    shutil.copytree(ROOT / "deploy" / "aws_lambda", folder / "deploy" / "aws_lambda", ignore=ignored)
    unpack(archive, folder / "archive")
    own = {"FLYOBJ_ARCHIVE": str(folder / "archive"), "FLYOBJ_ENGINE": "openvino"}
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **own}


def answer_of(response: Any) -> Any:
    """Read the answer out of the function's response."""
    if response["statusCode"] != 200:
        raise FlyobjError(f"the function answered {response['statusCode']}: {response['body']}")
    return json.loads(response["body"])


def measure_cold(start: Any, photo: bytes, times: int) -> dict[str, Any]:
    """Start the function again and ask it once: seconds, medians; CPU seconds and peak MiB."""
    rows = []
    for _ in track(range(times), "cold starts", console=console):
        started = time.perf_counter()
        with start() as function:
            asked = time.perf_counter()
            answer_of(function.invoke(form_event(photo)))
            ended = time.perf_counter()
            used = psutil.Process(function.process.pid).cpu_times()
            rows.append((asked - started, ended - started, used.user + used.system, peak_mib(function)))
    init, first, cpu, peak = (round(float(np.median(column)), 3) for column in zip(*rows, strict=True))
    return {"starts": times, "init_s": init, "first_answer_s": first, "cpu_s": cpu, "peak_mib": peak}


def peak_mib(function: Function) -> float:
    """Read the most memory that the process ever had resident, MiB."""
    status = Path(f"/proc/{function.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return round(int(found[1]) / 1024, 1) if found else 0.0


def measure_warm(
    function: Function, photos: Sequence[bytes], expected: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send every photo as a form and as the body: parity with the archive, and times of the forms."""
    wall, differences, same = [], [], 0
    answer_of(function.invoke(form_event(photos[0])))
    process = psutil.Process(function.process.pid)
    before = process.cpu_times()
    for photo in track(photos, "warm", console=console):
        event = form_event(photo)
        started = time.perf_counter()
        function.invoke(event)
        wall.append((time.perf_counter() - started) * 1000)
    after = process.cpu_times()
    for photo, right in track(list(zip(photos, expected, strict=True)), "parity", console=console):
        for event in (form_event(photo, version="1.0"), http_event(photo, "image/jpeg")):
            answer = answer_of(function.invoke(event))
            gaps = [abs(answer["probabilities"][c] - p) for c, p in right["probabilities"].items()]
            differences.append(max(gaps))
            same += answer["predicted"] == f"That seems to be {right['predicted']}"
    used = after.user + after.system - before.user - before.system
    p50, p99 = (round(percentile(wall, share), 2) for share in (0.5, 0.99))
    mean, cpu_ms = round(float(np.mean(wall)), 2), round(used / len(photos) * 1000, 2)
    times = {"mean_ms": mean, "p50_ms": p50, "p99_ms": p99, "cpu_ms": cpu_ms}
    asked = 2 * len(photos)
    parity = {"photos": len(photos), "asked": asked, "same": same, "largest": max(differences)}
    return parity, {**times, "peak_mib": peak_mib(function)}


def measure_server(
    archive: Path, photos: Sequence[bytes], expected: Sequence[Any], seconds: float
) -> dict[str, Any]:
    """Serve the archive and put load on it: CPU-ms per answer, rate, MiB."""
    pairs = [
        (photo, ExpectedAnswer(frozenset([right["predicted"]]), right["confidence"]))
        for photo, right in zip(photos, expected, strict=True)
    ]
    with (
        tempfile.TemporaryDirectory(prefix="flyobj-lambda-") as name,
        temporary_server(Path(name)) as (server, client),
    ):
        deploy(client, archive)
        endpoint, root = endpoint_of(client), psutil.Process(server.pid)
        console.print("loading the server")
        put_load(endpoint, pairs, CLIENTS, seconds)  # warms Java up
        before = sum(cpu_s(root).values())
        load = put_load(endpoint, pairs, CLIENTS, seconds)
        used = sum(cpu_s(root).values()) - before
        if load.faults:
            raise FlyobjError(f"{len(load.faults)} wrong answers of the server: {load.faults[0]}")
        return {**load.summary(used), "pss_mib": sum(pss_mib(root).values())}


def costs(
    warm: dict[str, Any], server: dict[str, Any], prices: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Work out what a million photos take, and with the prices given, cost."""
    gb_s = 1000 * warm["mean_ms"] * prices.memory_mb / 1024
    per_request = prices.price_million_requests + prices.price_million_api
    core_h = 1e6 * server["cpu_ms"] / 1000 / 3600
    by_core = core_h / prices.busy * prices.price_core_hour
    always_on = 730 * prices.server_cores * prices.price_core_hour  # hours of a month
    function = gb_s * prices.price_gb_s + per_request
    return {
        "lambda": {"gb_s": round(gb_s), "dollars": round(function, 2)},
        "server": {"core_hours": round(core_h, 2), "dollars": round(by_core, 2)},
        "month": {
            "server_dollars": round(always_on, 2),
            "even_at_photos": round(1e6 * always_on / function),
        },
    }


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("archive", type=Path, help=".mar of `flyobj archive`, with OpenVINO's graph")
    parser.add_argument("photos", type=Path, help="folder, searched through")
    parser.add_argument("--python", default=sys.executable, help="that runs the function")
    parser.add_argument("--cold", type=int, default=5, help="starts")
    parser.add_argument("--seconds", type=float, default=10, help="of load on the server, twice")
    parser.add_argument("--out", type=Path, default=Path("runs/aws_lambda"), help="for the figures")
    prices = parser.add_argument_group("prices, examples all of them")
    prices.add_argument("--memory-mb", type=int, default=1769, help="of the function: a whole processor")
    prices.add_argument("--price-gb-s", type=float, default=0.0000166667, help="dollars")
    prices.add_argument("--price-million-requests", type=float, default=0.20, help="dollars")
    prices.add_argument("--price-million-api", type=float, default=1.00, help="dollars, of the HTTP API")
    prices.add_argument("--price-core-hour", type=float, default=0.045, help="dollars, of the server")
    prices.add_argument("--server-cores", type=int, default=2)
    prices.add_argument("--busy", type=float, default=0.5, help="share of the server's time with work")
    return parser.parse_args()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything in turn."""
    photos = [path.read_bytes() for path in find_photos(arguments.photos)]
    with open_archive(arguments.archive, "openvino") as archive:
        expected = [archive.answer([photo])[0] for photo in track(photos, "archive", console=console)]
    if refused := [answer for answer in expected if "predicted" not in answer]:
        raise InputError(f"{len(refused)} photos can't be answered: {refused[0]['message']}")
    with tempfile.TemporaryDirectory(prefix="flyobj-image-") as name:
        environment = make_image(arguments.archive, Path(name))

        def start() -> Any:
            return start_function(Path(name), environment, arguments.python)

        cold = measure_cold(start, photos[0], arguments.cold)
        with start() as function:
            parity, warm = measure_warm(function, photos, expected)
    server = measure_server(arguments.archive, photos, expected, arguments.seconds)
    cost = costs(warm, server, arguments)
    passed = parity["same"] == parity["asked"] and parity["largest"] <= TOLERANCE
    found = {"parity": parity, "cold": cold, "warm": warm, "server": server, "cost": cost}
    return {**found, "passed": passed}


def main() -> None:
    """Measure and report; it has passed if all answers are the same."""
    arguments = read_arguments()

    def show(document: dict[str, Any]) -> None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_json(document, arguments.out / "aws_lambda.json")
        for name in ("parity", "cold", "warm", "server", "cost"):
            table = Table(name, "")
            for key, value in document[name].items():
                table.add_row(key, str(value))
            console.print(table)

    run(lambda: measure(arguments), show)


if __name__ == "__main__":
    main()
