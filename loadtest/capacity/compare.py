"""Two capacities compared: did it get worse by more than noise?"""

from dataclasses import dataclass

from loadtest.capacity.records import Capacity, Probe
from loadtest.capacity.search import Verdict
from model.errors import FlyobjError, InputError

KNEE_NOISE = 0.15  # two searches on one machine, one after the other, are no further apart
P99_NOISE, P99_NOISE_MS = 1.5, 5.0  # a p99 is worse if it is this many times and this many ms longer


@dataclass(frozen=True)
class Difference:
    """One rate that both were asked, below the first's knee; p99 in ms, None if nothing was answered."""

    rate: float
    before_ms: float
    after_ms: float | None
    ratio: float | None
    worse: bool


@dataclass(frozen=True)
class CapacityComparison:
    """Two searches.

    Attributes:
        before: knee of the first, requests/s; None if no rate held.
        after: of the second.
        ratio: of the two.
        worse: whether the knee is lower by more than noise; one that is "at least" can't be.
        differences: by rate.
        conditions: that are not the same in both, as (before, after).
    """

    before: float | None
    after: float | None
    ratio: float | None
    worse: bool
    differences: list[Difference]
    conditions: dict[str, tuple[str, str]]

    @property
    def worse_rates(self) -> list[float]:
        """Rates at which the p99 got worse."""
        return [d.rate for d in self.differences if d.worse]

    @property
    def regressed(self) -> bool:
        """Whether anything got worse."""
        return self.worse or bool(self.worse_rates)


def by_rate(capacity: Capacity) -> dict[float, Probe]:
    """Choose a probe for each rate, in order: a long one before a short one, then one that held."""
    chosen: dict[float, Probe] = {}
    for probe in capacity.probes:
        known = chosen.get(probe.rate)
        if known is None or _rank(probe) > _rank(known):
            chosen[probe.rate] = probe
    return dict(sorted(chosen.items()))


def _rank(probe: Probe) -> tuple[bool, bool]:
    return probe.long, probe.figures.verdict is Verdict.HELD


def compare(before: Capacity, after: Capacity) -> CapacityComparison:
    """Compare the second with the first.

    Raises:
        InputError: they were measured with other limits.
    """
    for name in ("p99_ms", "max_failures"):
        pair = before.settings[name], after.settings[name]
        if pair[0] != pair[1]:
            raise InputError(
                f"{name} is {pair[0]:g} in the first and {pair[1]:g} in the second; measure both with "
                "the same limits"
            )
    first, second = before.knee.rate, after.knee.rate
    ratio = round((second or 0.0) / first, 3) if first else None
    known = by_rate(after)
    return CapacityComparison(
        before=first,
        after=second,
        ratio=ratio,
        worse=ratio is not None and ratio < 1 - KNEE_NOISE and not after.knee.at_least,
        differences=[
            _difference(rate, probe, known[rate])
            for rate, probe in by_rate(before).items()
            if rate in known and probe.figures.verdict is Verdict.HELD
        ],
        conditions={
            name: (value, after.conditions.get(name, ""))
            for name, value in before.conditions.items()
            if value != after.conditions.get(name, "")
        },
    )


def _difference(rate: float, before: Probe, after: Probe) -> Difference:
    """Worse means: beyond both intervals, and by more than two runs differ anyway."""
    first, second = before.figures.latencies, after.figures.latencies
    assert first is not None  # the rate held
    if second is None:
        return Difference(rate, first.p99_ms, None, None, True)
    ratio = second.p99_ms / first.p99_ms
    worse = (
        second.p99_95[0] > first.p99_95[1]
        and ratio > P99_NOISE
        and second.p99_ms - first.p99_ms > P99_NOISE_MS
    )
    return Difference(rate, first.p99_ms, second.p99_ms, round(ratio, 2), worse)


def require_no_regression(comparison: CapacityComparison) -> None:
    """Raise `FlyobjError` if something got worse, and say what."""
    c, parts = comparison, []
    if c.worse:
        after = f"{c.after:g}" if c.after else "none"
        parts.append(f"the knee is {after}, it was {c.before:g} requests/s ({KNEE_NOISE:.0%} is noise)")
    if c.worse_rates:
        rates = ", ".join(f"{rate:g}" for rate in c.worse_rates)
        parts.append(f"p99 is longer at {rates} requests/s")
    if parts:
        raise FlyobjError(f"it got worse: {'; '.join(parts)}")
