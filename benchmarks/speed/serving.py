"""Our server against its peers, in turn within one run: `make bench`.

Each contender is one server, started once and left idle while others are measured. It runs our engine
(`model/`: decoding, OpenVINO) or, as NAME:manual, what its own manual shows (Pillow, eager PyTorch), so
that the first rows differ by the server alone; NAME:int8 and NAME:bf16 run our engine in fewer bits.
"in-process" has no server: as many processes as we have workers answer batches in a loop, the limit of
what any server can reach.

Measured are the seconds until the first answer (ours: until `flyobj serve` has brought all workers up),
the first ten seconds of load, other widths and numbers of clients, and last, when all are warm, the main
load in rounds of alternating order; of the manuals' only the main load, once. What holds on a machine
with neighbours is CPU-milliseconds per answer of all the server's processes; rates and latencies suffer
from neighbours and from the clients, which share the cores. Every answer is checked. The last line on
standard output is one JSON document, which is also OUT/serving.json.

    python -m benchmarks.speed.serving [--contenders NAME ...] [--seconds 6] [--rounds 3] [--quick]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.program import console, parser_of, run
from benchmarks.speed.inputs import MAIN_WIDTH, draw_photos, expected_answers, prepare
from benchmarks.speed.peer_apps.classify import ENGINE, MODEL, THREADS
from benchmarks.speed.peers import (
    FEWER_BITS,
    WORKERS,
    Contender,
    RunningServer,
    Site,
    contenders,
    wait_until_it_answers,
)
from benchmarks.speed.serving_report import MAIN_CLIENTS, draw_picture, median, print_table
from loadtest.closed_loop import ClosedLoopResult, ExpectedAnswer, put_load
from model.errors import FlyobjError, InputError
from model.files import write_json
from serving.server.process_tree import cpu_s, pss_mib
from serving.stock import ROOT

FIRST_S = 10
MOST_IN_A_BATCH = 8


@dataclass
class Row:
    """One contender's life and figures."""

    contender: Contender
    running: RunningServer | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether it can be measured."""
        return "failed" not in self.figures


class PeerComparison:
    """All contenders on the same photos."""

    def __init__(self, given: Site, arguments: argparse.Namespace) -> None:
        """Draw the photos and answer them in this process."""
        self.given, self.arguments = given, arguments
        self.photos = {width: draw_photos(width) for width in {MAIN_WIDTH, *arguments.widths}}
        self.rows = [Row(contenders()[name]) for name in arguments.contenders]
        kinds = {(row.contender.engine, row.contender.precision): row.contender for row in self.rows}
        self.expected: dict[tuple[str, str, int], list[ExpectedAnswer]] = {
            (*kind, width): expected_answers(one.choose_site(given).model, kind[0], photos)
            for kind, one in kinds.items()
            for width, photos in self.photos.items()
        }

    def run(self) -> None:
        """Measure the rows with our engine, then those of the manuals; figures are kept after each."""
        for engine in ("ours", "manual"):
            rows = [row for row in self.rows if row.contender.engine == engine]
            try:
                self.compare(rows, engine)
            finally:
                for row in rows:
                    if row.running:
                        row.running.stop()
            write_json(report(self), self.arguments.out / "serving.json")

    def compare(self, rows: list[Row], engine: str) -> None:
        """Start all, measure in turn; the manuals' are slow, and get one round of the main load."""
        for row in rows:
            self.start(row)
        if engine == "ours":
            for width, clients in self.other_cells():
                for row in rows:
                    self.measure(row, width, clients)
        for turn in range(self.arguments.rounds if engine == "ours" else 1):
            for row in rows[:: -1 if turn % 2 else 1]:
                self.measure(row, MAIN_WIDTH, MAIN_CLIENTS)
        for row in rows:
            if row.running and row.alive:
                row.figures["pss_mib"] = pss_mib(row.running.root)

    def other_cells(self) -> list[tuple[int, int]]:
        """Widths at the main number of clients, then numbers of clients at the main width."""
        a = self.arguments
        cells = [(width, MAIN_CLIENTS) for width in a.widths] + [(MAIN_WIDTH, c) for c in a.clients]
        return [cell for cell in cells if cell != (MAIN_WIDTH, MAIN_CLIENTS)]

    def start(self, row: Row) -> None:
        """Install and start a contender, and take its first ten seconds; a failure becomes its row."""
        contender = row.contender
        try:
            if contender.requirements.is_file():
                console.print(f"{contender.name}: installing, if it isn't")
                contender.python()
            if contender.start is None:
                return
            started = time.monotonic()
            given = contender.choose_site(self.given)
            row.running = contender.start(contender, given)
            log = given.folder / f"{contender.label}.log"
            wait_until_it_answers(row.running, self.photos[MAIN_WIDTH][0], log)
            row.figures["ready_s"] = round(time.monotonic() - started, 1)
        except (FlyobjError, subprocess.SubprocessError, OSError) as error:
            row.figures["failed"] = str(error)
            console.print(f"[red]{contender.name}[/] {error}", markup=True)
            return
        console.print(f"{contender.name}: ready after {row.figures['ready_s']} s")
        if contender.engine == "ours" and not self.arguments.quick:
            row.figures["pss_start_mib"] = pss_mib(row.running.root)
            row.figures["first_10_s"] = self.load(row, MAIN_WIDTH, MAIN_CLIENTS, FIRST_S)

    def measure(self, row: Row, width: int, clients: int) -> None:
        """Add one load to a row."""
        if not row.alive:
            return
        figures = self.load(row, width, clients, self.arguments.seconds)
        row.cells.setdefault(f"{width} px, {clients} clients", []).append(figures)
        line = f"{figures.get('per_s', 0)}/s, {figures.get('cpu_ms', 0)} CPU-ms per answer"
        wrong = f", {figures['errors']} errors" if figures["errors"] else ""
        console.print(f"{row.contender.name}: {width} px, {clients} clients: {line}{wrong}")

    def load(self, row: Row, width: int, clients: int, seconds: float) -> dict[str, Any]:
        """Put one load on a contender."""
        if row.running is None:
            given = row.contender.choose_site(self.given)
            return put_load_in_process(row.contender, given, width, clients, seconds)
        contender = row.contender
        expected = self.expected[contender.engine, contender.precision, width]
        photos = list(zip(self.photos[width], expected, strict=True))
        client, before = psutil.Process(), cpu_s(row.running.root)
        own = sum(client.cpu_times()[:2])
        load = put_load(row.running.endpoint, photos, clients, seconds)
        used = {name: s - before.get(name, 0) for name, s in cpu_s(row.running.root).items()}
        figures = load.summary(sum(used.values()))
        if figures["answers"]:
            each = 1000 / figures["answers"]
            figures["cpu_ms_of"] = {name: round(s * each, 2) for name, s in used.items()}
            figures["client_cpu_ms"] = round((sum(client.cpu_times()[:2]) - own) * each, 2)
        return figures


def put_load_in_process(
    contender: Contender, given: Site, width: int, clients: int, seconds: float
) -> dict[str, Any]:
    """Let a process for each worker of ours answer batches as large as so many clients would form."""
    environment = {**os.environ, MODEL: str(given.model), ENGINE: contender.engine, THREADS: "1"}
    count = min(WORKERS, clients)
    order = map(str, (width, min(MOST_IN_A_BATCH, clients // count), seconds))
    command = [sys.executable, "-m", "benchmarks.speed.peer_apps.in_process", *order]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise FlyobjError("in-process failed; what it said is above")
    loads = [json.loads(output) for output in outputs]
    latencies = [latency for load in loads for latency in load["latencies_s"]]
    mean_s = sum(load["seconds"] for load in loads) / count
    return ClosedLoopResult(mean_s, latencies).summary(sum(load["cpu_s"] for load in loads))


def report(comparison: PeerComparison) -> dict[str, Any]:
    """Gather the figures: medians over rounds for every cell."""
    document: dict[str, Any] = {"machine": {"cores": psutil.cpu_count()}, "contenders": {}}
    document["photo_kb"] = {
        width: round(statistics.mean(map(len, photos)) / 1000)
        for width, photos in sorted(comparison.photos.items())
    }
    for row in comparison.rows:
        cells = {name: median(rounds) for name, rounds in row.cells.items()}
        document["contenders"][row.contender.name] = {**row.figures, "cells": cells}
    return document


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = parser_of(__doc__)
    names = list(contenders())
    default = [n for n in names if n.startswith("flying") or not n.endswith(FEWER_BITS)]
    several: dict[str, Any] = {"nargs": "+", "choices": names, "metavar": "NAME", "default": default}
    parser.add_argument("--contenders", **several, help=", ".join(names))
    parser.add_argument("--run", type=Path, help="of `flyobj train`; a random network by default")
    parser.add_argument("--seconds", type=float, default=6, help="of each load")
    parser.add_argument("--rounds", type=int, default=3, help="of the main load")
    parser.add_argument("--widths", type=int, nargs="*", default=[320, 1024, 1920], help="px")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--quick", action="store_true", help="only the main load, one round of 3 s")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="for picture and figures")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.widths, arguments.clients, arguments.rounds, arguments.seconds = [], [], 1, 3
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """Refuse what can't be measured; raises `InputError`."""
    whole = (arguments.rounds, *arguments.widths, *arguments.clients)
    if arguments.seconds <= 0 or min(whole) < 1 or min(arguments.widths, default=32) < 32:
        raise InputError("seconds, rounds and clients must be above 0, widths 32 px or more")


def main() -> None:
    """Prepare, compare, report."""
    arguments = read_arguments()

    def measure() -> dict[str, Any]:
        check(arguments)
        arguments.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="flyobj-bench-") as name:
            console.print("preparing model and photos")
            wanted = [contenders()[name].precision for name in arguments.contenders]
            precisions = [one for one in FEWER_BITS if one in wanted]
            comparison = PeerComparison(prepare(Path(name), arguments.run, precisions), arguments)
            comparison.run()
            return report(comparison)

    def show(document: dict[str, Any]) -> None:
        print_table(document)
        draw_picture(document, arguments.out / "serving.png")

    run(measure, show)


if __name__ == "__main__":
    main()
