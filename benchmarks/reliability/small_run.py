"""What a server is tested with: one's own run, or a small one, trained in a minute, and its archive."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.bundle import read_bundle
from serving.archive.build import build_archive


@dataclass(frozen=True)
class Subject:
    """A folder to write to, the run's bundle, its archive as version 1.0, and a photo to ask with."""

    folder: Path
    bundle: Path
    archive: Path
    photo: bytes


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the option `--run`."""
    parser.add_argument("--run", type=Path, help="run folder of `flyobj train`; a small one is made")


@contextmanager
def package(run: Path | None) -> Iterator[Subject]:
    """Package `run`, by default a small one, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="flyobj-reliability-") as name:
        folder = Path(name)
        run = run or small_run(folder)
        archive = build_archive(run, "1.0", folder)
        photo = read_bundle(run / "bundle").golden[0].photo
        yield Subject(folder, run / "bundle", archive, photo)


def small_run(folder: Path) -> Path:
    """Train on drawn photos: what it knows doesn't matter here."""
    flyobj = [sys.executable, "-m", "cli"]
    data, run = folder / "data", folder / "run"
    options = ["--weights", "none", "--size", "64", "--epochs", "2", "--workers", "0"]
    for command in (
        ["data", "synthesize", str(data), "--per-class", "20"],
        ["train", str(data), "--out", str(run), *options],
    ):
        subprocess.run([*flyobj, *command], check=True, stdout=sys.stderr)
    return run
