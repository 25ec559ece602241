"""Where to look for the knee next: a pure function of what the probes so far have shown.

The rate is doubled until it breaks and bisected to 5 %; then longer runs confirm a rate that holds and,
5 % over it, one that doesn't. A rate has broken when it broke twice: half a second in which the machine
did something else spoils a p99, and one such moment must not end the search at a tenth of the knee.
Where it shows that something else was in the way, it takes four times.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

GROWTH = 2.0
TOLERANCE = 0.05
LOWEST = 1.0  # requests/s; below that a p99 would take hours
HIGHEST = 20_000.0


class Verdict(StrEnum):
    """What a probe says of its rate."""

    HELD = "held"
    BROKE = "broke"
    LATE = "generator late"  # it broke, but that may be the load generator's fault
    DISTURBED = "disturbed"  # or that of other programs on the machine


_WEIGHT = {Verdict.BROKE: 1.0, Verdict.LATE: 0.5, Verdict.DISTURBED: 0.5}
_BROKEN = 2.0  # weights that make a rate broken
_BLAME = {Verdict.BROKE: "server", Verdict.LATE: "generator", Verdict.DISTURBED: "others"}


@dataclass(frozen=True)
class Step:
    """A probe to make: a rate, requests/s, and whether it confirms, which takes longer."""

    rate: float
    long: bool = False


@dataclass(frozen=True)
class ProbeOutcome:
    """A probe that was made."""

    step: Step
    verdict: Verdict


@dataclass(frozen=True)
class Knee:
    """What the outcomes say.

    Attributes:
        rate: the highest that held, requests/s; None if none did.
        over: the next one, that broke; None if none did.
        confirmed: whether both come from long runs.
        limited_by: why `over` broke: "server", or what was in the way each time, "generator" or
            "others"; None if nothing broke.
    """

    rate: float | None
    over: float | None
    confirmed: bool
    limited_by: str | None

    @property
    def at_least(self) -> bool:
        """Whether the server may sustain more: it never broke for a reason of its own."""
        return self.rate is not None and self.limited_by != "server"


class _RateTally:
    """The rates of some outcomes, by what became of them."""

    def __init__(self, outcomes: Iterable[ProbeOutcome]) -> None:
        by_rate: dict[float, list[Verdict]] = {}
        for outcome in outcomes:
            by_rate.setdefault(outcome.step.rate, []).append(outcome.verdict)
        self.held = {rate for rate, verdicts in by_rate.items() if Verdict.HELD in verdicts}
        failed = {rate: verdicts for rate, verdicts in by_rate.items() if rate not in self.held}
        self.broke = {
            rate
            for rate, verdicts in failed.items()
            if sum(map(_WEIGHT.__getitem__, verdicts)) >= _BROKEN
        }
        self.undecided = set(failed) - self.broke

    @property
    def over(self) -> float | None:
        """The lowest rate that broke, above those that held."""
        return min((rate for rate in self.broke if rate > max(self.held, default=0)), default=None)


def next_step(outcomes: Sequence[ProbeOutcome], first: float) -> Step | None:
    """Say which probe comes next, beginning at `first` requests/s; None when the search is over."""
    short = _RateTally(outcome for outcome in outcomes if not outcome.step.long)
    rate, long = _next_rate(short, first, GROWTH), False
    if rate is None:
        confirmed = _RateTally(outcome for outcome in outcomes if outcome.step.long)
        rate, long = _next_rate(confirmed, max(short.held), 1 + TOLERANCE), True
    if rate is None or not LOWEST <= rate <= HIGHEST:
        return None
    return Step(float(f"{rate:.4g}"), long)


def _next_rate(tally: _RateTally, first: float, growth: float) -> float | None:
    """Grow, or shrink, from `first` until a rate holds and one breaks; then bisect, until None."""
    if tally.undecided:
        return min(tally.undecided)
    if not tally.held:
        return min(tally.broke) / growth if tally.broke else first
    low = max(tally.held)
    if tally.over is None:
        return low * growth
    near = tally.over <= low * (1 + TOLERANCE) * 1.001  # rates are rounded
    return None if near else math.sqrt(low * tally.over)


def knee_of(outcomes: Sequence[ProbeOutcome]) -> Knee:
    """Read the knee from the outcomes; where a long run contradicts a short one, it is believed."""
    short = _RateTally(outcome for outcome in outcomes if not outcome.step.long)
    long = _RateTally(outcome for outcome in outcomes if outcome.step.long)
    refuted = min(long.broke | long.undecided, default=math.inf)
    held = long.held or {rate for rate in short.held if rate < refuted}
    rate = max(held, default=None)
    broke = long.broke or short.broke | long.undecided
    over = min((r for r in broke if r > (rate or 0)), default=None)
    if over is None:
        return Knee(rate, None, False, None)
    confirmed = rate in long.held and over in long.broke
    why = [o.verdict for o in outcomes if o.step.rate == over and o.verdict in _BLAME]
    blame = Verdict.BROKE if Verdict.BROKE in why else max(why, key=why.count)
    return Knee(rate, over, confirmed, _BLAME[blame])
