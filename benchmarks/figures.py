"""The docs' figures, made again and compared: `make figures`.

Each table of figures in the docs stands below the command that makes it. Those that take less than five
minutes on two idle cores are run here, one after the other, and their tables compared row by row: counts
of failures have to be the same, what depends on the machine may differ by the factor beside it.

The last line on standard output is one JSON document.

    python -m benchmarks.figures [--only verdicts]
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from benchmarks.program import console, parser_of, run
from model.errors import InputError

ROOT = Path(__file__).parents[1]
Row = Sequence[str]  # the cells of a line of a table
Document = Mapping[str, Any]  # what the command prints last


@dataclass(frozen=True)
class Figures:
    """A table in the docs, and what makes it.

    Attributes:
        page: in `docs/`.
        named: how the page names the command; the first table of figures behind it is meant.
        program: of `benchmarks.reliability`, with options that make it short.
        compare: names what differs between a row and the document; None where no row is known to it.
    """

    page: str
    named: str
    program: str
    compare: Callable[[Row, Document], str | None]


def number(cell: str) -> float:
    """Read the first number of a cell: "3,096, nobody was there" is 3096."""
    found = re.search(r"\d[\d,]*\.?\d*", cell)
    if found is None:
        raise ValueError(f"no number in {cell!r}")
    return float(found[0].rstrip(",").replace(",", ""))


def differs(cell: str, now: float, factor: float) -> str | None:
    """Say that a figure is over `factor` times the docs', or under that part of it."""
    was = number(cell)
    within = was / factor <= now <= was * factor if was else not now
    return None if within else f"{cell} in the docs, {now:g} now"


def compare_verdicts(row: Row, document: Document) -> str | None:
    """Photos that a right verdict takes; drawn with a fixed seed, so the same everywhere."""
    cases = zip(row[1:], (0.02, 0.0, -0.02), strict=True)
    found = {(r["margin"], r["difference"]): r["photos"] for r in document["rows"]}
    wrong = [differs(cell, found[float(row[0]), case], 1.1) for cell, case in cases]
    return "; ".join(filter(None, wrong)) or None


def compare_inputs(row: Row, document: Document) -> str | None:
    """Statuses of a kind of input, one by one."""
    kind, *statuses = row
    now = document["kinds"][kind]
    now = [now["expected"], ", ".join(now["got"])]
    return None if now == statuses else f"{statuses} in the docs, {now} now"


def compare_events(row: Row, document: Document) -> str | None:
    """Failed and wrongly answered requests of an event; its slowest answer may take ten times as long.

    How many requests a `kill -9` fails depends on the moment.
    """
    event, _, _, failed, wrong, slowest = row
    now = next((r for r in document["events"] if r["event"] == event), None)
    if now is None:
        return "the program doesn't do that any more"
    counts = [differs(wrong, now["wrong"], 1), differs(slowest, max(now["longest_s"], 0.05), 10)]
    counts += [differs(failed, now["failed"], 1)] if failed == "0" else []
    return "; ".join(filter(None, counts)) or None


FIGURES = (
    Figures("evaluation.md", "python -m benchmarks.reliability.verdicts", "verdicts", compare_verdicts),
    Figures("handler.md", "make fuzz", "fuzz --requests 200 --wait 0", compare_inputs),
    Figures("rollout.md", "make survive", "rollout --requests 2000 --overload-s 5", compare_events),
)


def table_of(figures: Figures) -> list[Row]:
    """Read the rows of the table, without its head.

    Raises:
        ValueError: the page doesn't name the command, or no table follows.
    """
    text = (ROOT / "docs" / figures.page).read_text(encoding="utf-8")
    _, named, behind = text.partition(f"`{figures.named}`")
    lines = behind.splitlines()
    start = next((i for i, line in enumerate(lines) if re.fullmatch(r"\|[-|]+\|", line)), None)
    if not named or start is None:
        raise ValueError(f"docs/{figures.page}: no table behind `{figures.named}`")
    rows = takewhile(lambda line: line.startswith("|"), lines[start + 1 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def make(figures: Figures) -> list[str]:
    """Run the command; name the rows that differ."""
    console.print(f"docs/{figures.page}: {figures.named} ...")
    command = [sys.executable, "-m", *f"benchmarks.reliability.{figures.program}".split()]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        return [f"docs/{figures.page}: `{figures.named}` ended with exit code {ended.returncode}"]
    document = json.loads(ended.stdout.splitlines()[-1])
    found = ((row[0], figures.compare(row, document)) for row in table_of(figures))
    return [f"docs/{figures.page}: {name}: {wrong}" for name, wrong in found if wrong]


def main() -> None:
    """Make them all, or those with a word in their command; it has passed if none differs."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", default="", help="a word of the command")
    only = parser.parse_args().only

    def measure() -> dict[str, Any]:
        if not (chosen := [figures for figures in FIGURES if only in figures.program]):
            names = ", ".join(figures.program.split()[0] for figures in FIGURES)
            raise InputError(f"--only {only!r} is in none of the commands: {names}")
        wrong = [line for figures in chosen for line in make(figures)]
        console.print("\n".join(wrong) or "as the docs say")
        return {"pages": [figures.page for figures in chosen], "wrong": wrong, "passed": not wrong}

    run(measure)


if __name__ == "__main__":
    main()
