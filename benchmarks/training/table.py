"""What a study of recipes says: each word's effect, each arm against the default, in a picture too.

    python -m benchmarks.training.table FILE.jsonl --picture study.png --range-tests range_tests.png

The effect of a word is the accuracy with it less that without, over the runs of `screen` in the folds
that are complete: in each, 4 of 8 runs have the word, so photos are answered as often with as without,
and all the other words are in half of either. An arm's difference is that on the photos of the folds and
seeds that it and the default have both answered. Intervals are 95 %, over groups (`report.paired`).
"""

import json
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.program import console, parser_of, run
from benchmarks.training.arms import DEFAULT, FACTORS, Arm, screen
from benchmarks.training.baselines import BASELINES
from model.errors import InputError
from model.files import reading
from report.charts import BLUE, GREEN, GREY, RED, panels, save_png, scale_log
from report.paired import Change, measure_change
from report.terminal import new_table

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """What is shown of a word or an arm."""

    name: str
    runs: int
    change: Change
    seconds: float  # CPU time of a run, mean


def read_rows(path: Path) -> list[Row]:
    """Read what a study has written."""
    with reading(path, "give the --out of benchmarks.training.study"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    if not rows:
        raise InputError(f"{str(path)!r} has no runs yet; let benchmarks.training.study run")
    return rows


def effects(rows: list[Row]) -> list[Line]:
    """Measure each word of the screen on the complete folds."""
    by_fold: dict[tuple[int, int], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        by_fold[row["fold"], row["seed"]][row["arm"]] = row
    complete = [
        [own[name] for name in screen(fold)]
        for (fold, _), own in sorted(by_fold.items())
        if all(name in own for name in screen(fold))
    ]
    lines = []
    for word in FACTORS if complete else ():
        pairs = []
        for own in complete:
            having = [row for row in own if word in Arm(row["arm"]).words]
            lacking = [row for row in own if row not in having]
            pairs += list(zip(having, lacking, strict=True))
        lines.append(Line(word, 2 * len(pairs), _change(pairs), _seconds(new for new, _ in pairs)))
    return lines


def arms(rows: list[Row]) -> list[Line]:
    """Compare each arm that isn't of the screen alone with the default."""
    default = {(row["fold"], row["seed"]): row for row in rows if row["arm"] == DEFAULT}
    own = defaultdict(list)
    for row in rows:
        if (row["fold"], row["seed"]) in default:
            own[row["arm"]].append(row)
    folds = max((len(runs) for runs in own.values()), default=0)
    lines = []
    for name, runs in own.items():
        if 2 * len(runs) >= folds or name in BASELINES:
            pairs = [(row, default[row["fold"], row["seed"]]) for row in runs]
            lines.append(Line(name, len(runs), _change(pairs), _seconds(runs)))
    return sorted(lines, key=lambda line: -line.change.difference)


def _change(pairs: list[tuple[Row, Row]]) -> Change:
    names = [group for new, _ in pairs for group in new["groups"]]
    groups = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return measure_change(
        np.concatenate([_right(new) for new, _ in pairs]),
        np.concatenate([_right(old) for _, old in pairs]),
        groups,
    )


def _right(row: Row) -> Any:
    return np.array(row["probabilities"]).argmax(1) == np.array(row["labels"])


def _seconds(rows: Iterable[Row]) -> float:
    return float(np.mean([row["cpu_s"] for row in rows]))


def show(lines: list[Line], title: str) -> None:
    """Print lines as a table."""
    table = new_table(title, "runs", "accuracy", "without", "difference", "95 %", "CPU s")
    for line in lines:
        low, high = line.change.interval
        figures = (f"{line.change.new:.3f}", f"{line.change.old:.3f}", f"{line.change.difference:+.3f}")
        table.add_row(
            line.name, str(line.runs), *figures, f"{low:+.3f} to {high:+.3f}", f"{line.seconds:.0f}"
        )
    console.print(table)


def draw(lines: list[Line], path: Path) -> None:
    """Draw differences with their intervals."""
    figure, (axes,) = panels((7, 0.35 * len(lines) + 1))
    for at, line in enumerate(reversed(lines)):
        low, high = line.change.interval
        colour = GREEN if low > 0 else RED if high < 0 else BLUE
        axes.plot([low, high], [at, at], color=colour)
        axes.plot([line.change.difference], [at], "o", color=colour)
    axes.axvline(0, color=GREY, ls=":")
    axes.set_yticks(range(len(lines)), [line.name for line in reversed(lines)])
    axes.set(xlabel="accuracy less the default's, or with the word less without")
    save_png(figure, path)


def draw_range_tests(rows: list[Row], path: Path) -> None:
    """Draw the smoothed loss of every range test, and the learning rates that were taken."""
    stages = list(dict.fromkeys(s["stage"]["name"] for row in rows for s in row.get("stages", ())))
    figure, grid = panels((3 * len(stages), 2.8), 1, len(stages))
    for axes, name in zip(grid, stages, strict=True):
        for row in rows:
            for stage in row.get("stages", ()):
                if stage["stage"]["name"] == name and name in row["curves"]:
                    colour = RED if "sgd" in Arm(row["arm"]).words else BLUE
                    curve = np.array([line.split(",") for line in row["curves"][name][1:]], float)
                    axes.plot(curve[:, 0], curve[:, -1] / curve[0, -1], color=colour, lw=0.5, alpha=0.5)
                    axes.axvline(stage["lr"], color=colour, ymax=0.08)
        axes.set(title=name, xlabel="learning rate", ylim=(0, 2))
        scale_log(axes, "x", at_most=6)
    sgd = "; SGD red" if any("sgd" in Arm(row["arm"]).words for row in rows) else ""
    grid[0].set_ylabel(f"loss over that of the start{sgd}")
    save_png(figure, path)


def main() -> None:
    """Parse the command line and print."""
    parser = parser_of(__doc__)
    parser.add_argument("file", type=Path, help="of benchmarks.training.study")
    parser.add_argument("--picture", type=Path, help=".png of the differences, to write")
    parser.add_argument("--range-tests", type=Path, help=".png of all range tests, to write")
    own = parser.parse_args()
    run(lambda: _measure(own))


def _measure(own: Namespace) -> dict[str, Any]:
    rows = read_rows(own.file)
    kinds = {(row["folds"], row["size"], row["epochs"]) for row in rows}
    document: dict[str, Any] = {}
    for folds, size, epochs in sorted(kinds):
        some = [r for r in rows if (r["folds"], r["size"], r["epochs"]) == (folds, size, epochs)]
        title = f"{size} px, {epochs} epochs, {folds} folds"
        words, compared = effects(some), arms(some)
        if words:
            show(words, f"word ({title})")
        show(compared, f"arm ({title})")
        document[title] = {line.name: line.change.difference for line in words + compared}
        if own.picture:
            draw(words + compared, own.picture)
    if own.range_tests:
        draw_range_tests([row for row in rows if "curves" in row], own.range_tests)
    return document


if __name__ == "__main__":
    main()
