"""What the default recipe is worth: the same training with several seeds, each looked at once on test.

    python -m benchmarks.training.seeds DATA --out DIR --seeds 0 1 2 3 4 -- --weights W --size 128

What follows `--` goes to `flyobj train`. Runs are DIR/SEED; a finished one isn't run again, one that was
stopped is resumed. Choices belong before this: by validation, or with `benchmarks.training.study`.
"""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.program import console, parser_of, run
from benchmarks.training.table import draw_range_tests
from model.errors import FlyobjError, InputError
from model.files import read_json
from report.terminal import new_table


def train(data: Path, folder: Path, seed: int, options: list[str]) -> dict[str, Any]:
    """Train and evaluate one seed in `folder`, as far as that hasn't been done; return its figures.

    Raises:
        FlyobjError: a command failed; what it printed is on the screen.
    """
    figures = folder / "evaluation" / "evaluation.json"
    if not (folder / "run.json").exists():
        started = (folder / "settings.json").exists()
        made = ["train", data, "--out", folder, "--seed", seed, *options]
        _flyobj(*(["train", data, "--resume", folder] if started else made))
    if not figures.exists():
        _flyobj("evaluate", folder, "--data", data)
    result, document = read_json(figures), read_json(folder / "run.json")
    names = [stage["stage"]["name"] for stage in document["stages"]]
    logs = {name: folder / "logs" / f"range_test-{name}.csv" for name in names}
    return {
        "seed": seed,
        "test": result["accuracy"],
        "test_95": result["accuracy_95"],
        "stages": document["stages"],
        "curves": {n: log.read_text().splitlines() for n, log in logs.items() if log.exists()},
    }


def _flyobj(*words: object) -> None:
    command = [sys.executable, "-m", "cli", *map(str, words)]
    if code := subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise FlyobjError(f"`flyobj {' '.join(command[3:])}` ended with {code}")


def show(document: dict[str, Any]) -> None:
    """Print a line for each seed: what each stage had on validation, and test."""
    table = new_table("seed", "validation, by stage", "range tests", "test", "95 %", "seconds")
    for row in document["runs"]:
        low, high = row["test_95"]
        table.add_row(
            str(row["seed"]),
            " ".join(f"{stage['val_accuracy']:.3f}" for stage in row["stages"]),
            " ".join(f"{stage['lr']:.1e}" for stage in row["stages"]),
            f"{row['test']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{sum(stage['seconds'] for stage in row['stages']):.0f}",
        )
    console.print(table)
    console.print(f"test: mean {document['mean']:.3f}, worst {document['worst']:.3f}")


def main() -> None:
    """Parse the command line and print."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, help="folder with train/CLASS and test/CLASS photos")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--range-tests", type=Path, help=".png of all range tests, to write")
    parser.add_argument("options", nargs="*", help="of flyobj train, after --")
    own = parser.parse_args()
    run(lambda: measure(own), show)


def measure(own: Namespace) -> dict[str, Any]:
    """Train and evaluate what isn't there yet, and return all figures."""
    if taken := {"--seed", "--out", "--resume"} & set(own.options):
        raise InputError(f"{sorted(taken)[0]} is this program's to give; leave it out")
    rows = [train(own.data, own.out / str(seed), seed, own.options) for seed in own.seeds]
    if own.range_tests and any(row["curves"] for row in rows):
        draw_range_tests([{"arm": "default", **row} for row in rows], own.range_tests)
    accuracies = [row["test"] for row in rows]
    runs = [{name: value for name, value in row.items() if name != "curves"} for row in rows]
    return {"runs": runs, "mean": float(np.mean(accuracies)), "worst": min(accuracies)}


if __name__ == "__main__":
    main()
