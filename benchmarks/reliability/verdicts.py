"""How often `flyobj compare` is right, and how many photos that takes.

Two versions' answers are drawn, again and again: clips of 4 to 12 frames, whose shares of photos gained
and lost spread around those of all clips (Dirichlet, with the intraclass correlation given). One version
is better by 2 points, one is the same (another seed), one is worse by 2 points. For each margin the
smallest number of clips is searched at which the verdict is right in 19 of 20 repetitions, and how often
the interval holds the true difference is given beside it. `--flips` is the share of photos that one of
the versions alone has right, and `--correlation` how alike a clip's frames are in that. No model is run;
it takes a minute or two.

The last line on standard output is one JSON document.

    python -m benchmarks.reliability.verdicts [--flips 0.06] [--correlation 0.2] [--repetitions 200]
"""

from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.program import console, parser_of, run
from report.intervals import Ints
from report.paired import BETTER, NOT_WORSE, WORSE, measure_change, verdict_of

CASES = {0.02: BETTER, 0.0: NOT_WORSE, -0.02: WORSE}  # by the true difference
MARGINS = (0.005, 0.01, 0.02)
RIGHT = 0.95  # of the repetitions
_FRAMES = (4, 12)  # of a clip, at least and at most


def draw(
    rng: np.random.Generator, clips: int, gained: float, lost: float, correlation: float
) -> tuple[Any, Any, Ints]:
    """Draw which frames the new and the old version answer rightly, and of which clip each is."""
    precision = 1 / correlation - 1  # of the Dirichlet, so that its intraclass correlation is that
    rates = rng.dirichlet(precision * np.array([gained, lost, 1 - gained - lost]), clips)
    clip = np.repeat(np.arange(clips), rng.integers(_FRAMES[0], _FRAMES[1] + 1, clips))
    chance = rng.random(len(clip))
    is_gained = chance < rates[clip, 0]
    is_lost = ~is_gained & (chance < rates[clip, :2].sum(axis=1))
    return ~is_lost, ~is_gained, clip  # what both answer alike doesn't matter


def try_out(
    clips: int, difference: float, margin: float, flips: float, correlation: float, repetitions: int
) -> dict[str, float]:
    """Draw repetitions: the share of right verdicts, and of intervals that hold the difference."""
    rng = np.random.default_rng(0)
    right = held = 0
    for _ in range(repetitions):
        gained, lost = (flips + difference) / 2, (flips - difference) / 2
        change = measure_change(*draw(rng, clips, gained, lost, correlation))
        right += verdict_of(change, margin) == CASES[difference]
        held += change.interval[0] <= difference <= change.interval[1]
    return {"right": right / repetitions, "held": held / repetitions}


def search(difference: float, margin: float, *given: Any) -> dict[str, float]:
    """Find the smallest number of clips, to a tenth, at which `RIGHT` of the verdicts are."""
    low, high = 10, 20
    while try_out(high, difference, margin, *given)["right"] < RIGHT:
        low, high = high, 2 * high
    while high - low > 0.1 * low:
        middle = (low + high) // 2
        enough = try_out(middle, difference, margin, *given)["right"] >= RIGHT
        low, high = (low, middle) if enough else (middle, high)
    photos = high * sum(_FRAMES) // 2
    return {"clips": high, "photos": photos, **try_out(high, difference, margin, *given)}


def measure(flips: float, correlation: float, repetitions: int) -> dict[str, Any]:
    """Search for each margin and each true difference."""
    table = Table(
        "margin", "true difference", "right verdict", "photos", "clips", "right", "interval held"
    )
    rows, passed = [], True
    for margin in MARGINS:
        for difference, verdict in CASES.items():
            found = search(difference, margin, flips, correlation, repetitions)
            rows.append({"margin": margin, "difference": difference, "verdict": verdict, **found})
            shares = f"{found['right']:.3f}", f"{found['held']:.3f}"
            counts = f"{found['photos']:,}", f"{found['clips']:,}"
            table.add_row(f"{margin:g}", f"{difference:+.2f}", verdict, *counts, *shares)
            passed &= found["right"] >= RIGHT and found["held"] >= RIGHT - 0.02
    console.print(table)
    return {"flips": flips, "correlation": correlation, "rows": rows, "passed": passed}


def main() -> None:
    """Search and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--flips", type=float, default=0.06, help="share of photos gained or lost")
    parser.add_argument("--correlation", type=float, default=0.2, help="of a clip's frames")
    parser.add_argument("--repetitions", type=int, default=200)
    given = parser.parse_args()
    run(lambda: measure(given.flips, given.correlation, given.repetitions))


if __name__ == "__main__":
    main()
