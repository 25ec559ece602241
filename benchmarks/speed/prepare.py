"""How fast `flyobj data prepare` is, next to what it can't do without, and how well it finds defects.

The floor reads each file, takes its SHA-256 and decodes it once, in as many processes. Beside it: the
scan (the same, plus perceptual hash and row), and the whole of prepare, from walking to the report.
All three take turns on the same files in the same run, and the median of each is given; a share is the
median of the turns' shares, by the clock and by processor time, which neighbours on the machine disturb
less. Importing libraries (about 2 s) isn't counted. What is written is in TMPDIR: a link takes 0.05 ms
in memory, up to 4 ms on a crowded disk. Memory is the peak of the process that holds the rows; workers
hold one photo each.

Where SOURCE has a defects.csv (`flyobj data synthesize --defects`), recall and precision of each kind of
defect are given too; pruning is left out then, so that it can't hide one. `--derive N` first makes N
small photos from those in SOURCE, crops turned and mirrored, to measure what N files cost.

`--rows N` measures instead what deciding over N rows costs, in seconds and memory, with made-up rows: as
many as no small machine has photos for.

The last line on standard output is one JSON document.

    python -m benchmarks.speed.prepare SOURCE [--derive 5000] [--turns 3] [--workers 2]
    python -m benchmarks.speed.prepare --rows 1000000
"""

import hashlib
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from benchmarks.program import console, parser_of, run
from model.errors import PhotoError
from model.image import decode_photo
from model.parallel import in_parallel
from training.data.manifest import Row, read_manifest, write_manifest
from training.data.prepare.near import near_pairs
from training.data.prepare.scan import scan
from training.data.prepare.settings import PrepareSettings
from training.data.prepare.walk import walk
from training.data.synthetic import defects

LONGER_SIDE = 360  # of derived photos, pixels


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, metavar="N", help="measure the decisions on N made-up rows")
    parser.add_argument("--derive", type=int, metavar="N", help="measure on N photos made from SOURCE's")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    if (args.source is None) == (args.rows is None):
        parser.error("give either SOURCE or --rows N")

    def look() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as room:
            source = args.source
            if args.derive:
                source = Path(room, "derived")
                derive(args.source, source, args.derive, args.workers)
            return measure(source, Path(room, "out"), args.turns, args.workers)

    run(look if args.rows is None else lambda: decide(args.rows))


def measure(source: Path, out: Path, turns: int, workers: int) -> dict[str, Any]:
    """Let floor, scan and the whole take turns."""
    from training.data.prepare.pipeline import prepare  # not above: every worker imports this module

    planted = source / defects.NAME
    settings = PrepareSettings(prune=not planted.is_file())
    files = [row for row in walk(source).rows if row.kept]
    steps: dict[str, Callable[[], object]] = {
        "floor": lambda: list(in_parallel(partial(touch, source), files, workers)),
        "scan": lambda: scan(source, files, workers),
        "whole": lambda: prepare(source, out, settings, workers=workers),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        shutil.rmtree(out, ignore_errors=True)  # of the turn before; most users make a new one
        for name, step in steps.items():
            start, cpu_start = time.perf_counter(), _cpu_s()
            step()
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(_cpu_s() - cpu_start)
    rows = read_manifest(out / "manifest.csv")
    hashes = [row.phash for row in rows if row.phash]
    start = time.perf_counter()
    near_pairs(hashes, settings.near)
    result = {
        "files": len(files),
        "megabytes": round(sum(row.bytes for row in rows) / 1e6, 1),
        "megapixels": round(sum(row.width * row.height for row in rows) / 1e6, 1),
        "workers": workers,
        "seconds": {name: round(statistics.median(s), 2) for name, s in seconds.items()},
        "near_search_s": round(time.perf_counter() - start, 2),
        "files_per_s": {n: round(len(files) / statistics.median(s), 1) for n, s in seconds.items()},
        "share_of_floor": {n: _share(seconds["floor"], seconds[n]) for n in ("scan", "whole")},
        "cpu_ms_per_file": {
            n: round(1e3 * statistics.median(s) / len(files), 3) for n, s in cpu.items()
        },
        "cpu_share_of_floor": {n: _share(cpu["floor"], cpu[n]) for n in ("scan", "whole")},
        "peak_mib": _peak_mib(),
        "manifest_mb": round((out / "manifest.csv").stat().st_size / 1e6, 2),
        "report_mb": round((out / "report.html").stat().st_size / 1e6, 2),
    }
    console.print_json(data=result)
    if planted.is_file():
        result["defects"] = _scores(defects.score(defects.read_defects(source), rows))
    return result


def decide(count: int) -> dict[str, Any]:
    """Clean, prune, split and write `count` made-up rows, every tenth nearly a copy of the last."""
    from training.data.prepare.clean import clean
    from training.data.prepare.prune import prune
    from training.data.split import split

    rng, settings = np.random.default_rng(0), PrepareSettings()
    base = _peak_mib()
    rows = [_row(number, rng) for number in range(count)]
    for number in range(9, count, 10):
        rows[number].phash = rows[number - 1].phash[:-2] + "00"
    seconds, made = {}, _peak_mib()
    near: list[Any] = []
    with tempfile.TemporaryDirectory() as room:
        steps: dict[str, Callable[[], object]] = {
            "clean": lambda: near.extend(clean(rows, settings)),
            "prune": lambda: prune(rows, settings),
            "split": lambda: split(rows, near, settings),
            "write": lambda: write_manifest(rows, Path(room, "manifest.csv")),
        }
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name] = round(time.perf_counter() - start, 1)
    return {
        "rows": count,
        "near_pairs": len(near),
        "seconds": seconds,
        "rows_mib": made - base,
        "peak_mib": _peak_mib(),
    }


def _row(number: int, rng: np.random.Generator) -> Row:
    height, width = (int(side) for side in rng.integers(100, 1000, 2))
    name = f"class {number % 10}"
    return Row(
        f"{name}/photo_{number:08d}.jpg",
        name,
        sha256=rng.bytes(32).hex(),
        phash=rng.bytes(32).hex(),
        bytes=height * width // 8,
        width=width,
        height=height,
        format="JPEG",
    )


def _cpu_s() -> float:
    """What this process and its workers that ended have used of the processors."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def _peak_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def touch(source: Path, found: Row) -> str:
    """What can't be left out: read, hash, decode."""
    content = (source / found.path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        decode_photo(content)
    except PhotoError:
        return ""
    return digest


def derive(source: Path, out: Path, count: int, workers: int) -> None:
    """Make `count` photos in `out`/CLASS/ from those in `source`, each another crop of one of them."""
    tree = walk(source)
    photos = [row for row in tree.rows if row.kept and row.path.endswith(".jpg")]
    np.random.default_rng(0).shuffle(photos)  # so that a few are of every class
    for name in tree.classes:
        (out / name).mkdir(parents=True)
    console.print(f"deriving {count} photos from {len(photos)}")
    list(in_parallel(partial(_derive, source, out, photos), range(count), workers))


def _derive(source: Path, out: Path, photos: list[Row], number: int) -> None:
    rng = np.random.default_rng(number)
    chosen = photos[number % len(photos)]
    path = out / chosen.class_name / f"{number:06d}.jpg"
    try:
        pixels = decode_photo((source / chosen.path).read_bytes())
    except PhotoError:
        shutil.copyfile(source / chosen.path, path)
        return
    height, width = pixels.shape[:2]
    share = rng.uniform(0.4, 0.8)
    top, left = (int(rng.uniform(0, (1 - share) * side)) for side in (height, width))
    crop = pixels[top : top + int(share * height) + 1, left : left + int(share * width) + 1]
    turned = np.rot90(crop[:, :: rng.choice([-1, 1])], int(rng.integers(4)))
    photo = Image.fromarray(np.ascontiguousarray(turned))
    photo.thumbnail((LONGER_SIDE, LONGER_SIDE))
    photo.save(path, quality=int(rng.integers(70, 95)))


def _share(floor: list[float], other: list[float]) -> float:
    return round(statistics.median(f / o for f, o in zip(floor, other, strict=True)), 3)


def _scores(scores: dict[Any, defects.Score]) -> dict[str, dict[str, float]]:
    table = Table("defect", "planted", "reported", "recall", "precision")
    for kind, s in scores.items():
        table.add_row(kind, str(s.planted), str(s.reported), f"{s.recall:.3f}", f"{s.precision:.3f}")
    console.print(table)
    return {
        str(kind): {"planted": s.planted, "recall": s.recall, "precision": s.precision}
        for kind, s in scores.items()
    }


if __name__ == "__main__":
    main()
