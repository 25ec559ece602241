"""The run that a server is tested with: one's own, or a small one, trained in a minute."""

import argparse
import subprocess
import sys
from pathlib import Path


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the option `--run`."""
    parser.add_argument("--run", type=Path, help="run folder of `flyobj train`; a small one is made")


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
