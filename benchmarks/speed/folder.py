"""How fast `flyobj predict DIR` is, next to the limit of this machine's cores, and what memory it takes.

The limit is decoding and the network and nothing else: as many processes as cores, each with its share
of the photos' bytes in memory, one engine, and a loop. Its time counts from when all of them have begun.
The command's counts from its first process to its end, so that starting, finding, reading and hashing
files, passing answers on and writing rows are in it. Both take turns on the same photos; a share is the
median of the turns' shares, by the clock and by processor time, which neighbours on the machine disturb
less. Memory is the most that the command's process held, its workers not counted, over all the photos
and over a tenth of them.

The last line on standard output is one JSON document.

    python -m benchmarks.speed.folder ARCHIVE PHOTOS [--limit N] [--turns 3]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2

from benchmarks.program import console, parser_of, run
from model.bundle import read_bundle
from model.engines import FOLDER, choose_engine
from model.errors import FlyobjError, PhotoError
from model.parallel import CHUNK
from model.photo_files import find_photos
from model.predictor import Predictor
from serving.archive.layout import BUNDLE, unpack
from serving.rollout.default_workers import usable_cores

_barrier: Barrier | None = None  # of a worker


@dataclass(frozen=True)
class Took:
    """What answering the photos took."""

    photos: int
    seconds: float
    cpu_s: float  # of all processes
    mib: int = 0  # at most, of the command's own process


def limit(archive: Path, photos: Sequence[Path], cores: int) -> Took:
    """Answer photos that are in memory, in `cores` processes."""
    context = get_context("spawn")
    barrier = context.Barrier(cores)
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(cores, context, initializer=_start, initargs=(barrier,)) as pool,
    ):
        folder = unpack(archive, Path(name))
        shares = [photos[i::cores] for i in range(cores)]
        starts, ends, cpu = zip(*pool.map(_loop, [folder] * cores, shares), strict=True)
    return Took(len(photos), max(ends) - min(starts), sum(cpu))


def _start(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
    cv2.setNumThreads(1)


def _loop(folder: Path, photos: Sequence[Path]) -> tuple[float, float, float]:
    """Decode and answer; when this began and ended, and the CPU time it took."""
    bundle = read_bundle(folder / BUNDLE)
    predictor = Predictor(bundle, choose_engine(bundle, folder / FOLDER))
    contents = [path.read_bytes() for path in photos]
    predictor.warm_up(2)
    if _barrier:
        _barrier.wait()
    started, cpu = time.monotonic(), time.process_time()
    for first in range(0, len(contents), CHUNK):
        pixels = []
        for content in contents[first : first + CHUNK]:
            try:
                pixels.append(predictor.prepare(content))
            except PhotoError:
                continue
        predictor.predict(pixels)
    return started, time.monotonic(), time.process_time() - cpu


def command(archive: Path, folder: Path, out: Path) -> Took:
    """Run `flyobj predict` on a folder."""
    words = [sys.executable, "-m", "cli", "predict", str(folder), "--archive", str(archive)]
    started = time.monotonic()
    process = subprocess.Popen([*words, "--csv", str(out)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FlyobjError(f"flyobj predict ended with {process.returncode}")
    with out.open("rb") as rows:
        photos = sum(1 for _ in rows) - 1
    return Took(photos, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024)


def measure(archive: Path, folder: Path, most: int | None, turns: int) -> dict[str, Any]:
    """Let the limit and the command take turns; then a tenth of the photos, for the memory."""
    photos, cores = find_photos(folder, most), usable_cores(os.getpid())
    limits, commands = [], []
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        for part, files in (("all", photos), ("tenth", photos[::10])):
            (room / part).mkdir()
            for number, photo in enumerate(files):
                (room / part / f"{number}{photo.suffix}").symlink_to(photo.absolute())
        for turn in range(turns):
            limits.append(limit(archive, photos, cores))
            commands.append(command(archive, room / "all", room / f"{turn}.csv"))
            rates = [took.photos / took.seconds for took in (limits[-1], commands[-1])]
            console.print("limit {:.0f}/s, command {:.0f}/s".format(*rates))
        tenth = command(archive, room / "tenth", room / "tenth.csv")
    pairs = list(zip(limits, commands, strict=True))
    middle = statistics.median
    return {
        "photos": len(photos),
        "cores": cores,
        "limit_per_s": round(middle(t.photos / t.seconds for t in limits), 1),
        "command_per_s": round(middle(t.photos / t.seconds for t in commands), 1),
        "share_of_limit": round(middle(a.seconds / b.seconds for a, b in pairs), 3),
        "cpu_share_of_limit": round(middle(a.cpu_s / b.cpu_s for a, b in pairs), 3),
        "mib": max(took.mib for took in commands),
        "mib_of_a_tenth": tenth.mib,
    }


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("photos", type=Path, help="folder")
    parser.add_argument("--limit", type=int, metavar="N", help="of the photos, evenly spread")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    run(lambda: measure(arguments.archive, arguments.photos, arguments.limit, arguments.turns))


if __name__ == "__main__":
    main()
