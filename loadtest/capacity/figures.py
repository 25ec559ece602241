"""What one probe showed: percentiles of the latencies, failures, and whether the rate held."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.capacity.generator import LoadResult
from loadtest.capacity.search import Verdict
from serving.server.latency import percentile

LATE_MS, LATE_SHARE = 5.0, 0.1  # sends behind the schedule at p99: more than this, and this of the limit
BUSY_CORES = 0.85  # of the one that the generator can use
DISTURBED = 0.15  # of the machine's cores, used by other programs


@dataclass(frozen=True)
class LatencyLimits:
    """What a rate must keep to hold: p99 in ms, and the share of requests that may fail."""

    p99_ms: float
    failures: float = 0.001


@dataclass(frozen=True)
class Latencies:
    """Percentiles of the answers that were right, ms, from their scheduled time of sending.

    `p99_95` is the 95 % interval of the p99, as far as this sample reaches.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_95: tuple[float, float]


@dataclass(frozen=True)
class ProbeFigures:
    """The counted part of a probe, after its warm-up.

    Attributes:
        requests: that the schedule had.
        unsent: of these, when the generator broke off.
        faults: of these, by what was wrong, the most frequent first.
        latencies: None if nothing was answered.
        lag_p99_ms: how late requests were sent.
        generator_cpu: cores.
        verdict: on the rate.
    """

    requests: int
    unsent: int
    faults: dict[str, int]
    latencies: Latencies | None
    lag_p99_ms: float
    generator_cpu: float
    verdict: Verdict

    @property
    def failed(self) -> int:
        """Requests that got no right answer."""
        return sum(self.faults.values()) + self.unsent


def percentile_interval(ordered: Sequence[float], share: float) -> tuple[float, float]:
    """Take a percentile's 95 % interval, whatever the distribution.

    How many of n values lie below a percentile is binomial, so ranks 1.96 standard deviations to both
    sides enclose it (Conover, Practical Nonparametric Statistics, 3.2).
    """
    n = len(ordered)
    spread = 1.96 * math.sqrt(n * share * (1 - share))
    low, high = (math.ceil(n * share + sign * spread) for sign in (-1, 1))  # ranks, from 1
    return ordered[max(low, 1) - 1], ordered[min(high, n) - 1]


def figures_of(
    sent: LoadResult,
    arrivals: Sequence[float],
    warm_up_s: float,
    limits: LatencyLimits,
    others: float = 0.0,
) -> ProbeFigures:
    """Sum up a probe.

    Args:
        sent: their results.
        arrivals: its schedule, s.
        warm_up_s: what arrived in this time was sent and isn't counted.
        limits: that the rate must keep.
        others: share of the machine's cores that other programs used meanwhile.
    """
    first = sum(arrival < warm_up_s for arrival in arrivals)
    requests, unsent = len(arrivals) - first, len(arrivals) - max(first, len(sent.fault))
    faults = Counter(fault for fault in sent.fault[first:] if fault)
    right = [
        1000 * latency
        for latency, fault in zip(sent.latency_s[first:], sent.fault[first:], strict=True)
        if not fault
    ]
    lag_ms = 1000 * percentile(sent.lag_s[first:], 0.99)
    latencies = latencies_of(right)
    failed = faults.total() + unsent
    return ProbeFigures(
        requests,
        unsent,
        dict(faults.most_common()),
        latencies,
        round(lag_ms, 2),
        round(sent.cpu, 3),
        judge(failed / max(1, requests), latencies, lag_ms, sent.cpu, others, limits),
    )


def latencies_of(right_ms: Sequence[float]) -> Latencies | None:
    """Sum up the latencies of right answers, ms."""
    if not right_ms:
        return None
    ordered = [round(value, 2) for value in sorted(right_ms)]
    p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
    return Latencies(p50, p95, p99, percentile_interval(ordered, 0.99))


def judge(
    failures: float,
    latencies: Latencies | None,
    lag_p99_ms: float,
    cpu: float,
    others: float,
    limits: LatencyLimits,
) -> Verdict:
    """Decide on a rate.

    A late generator makes latencies longer, as they count from the schedule, and other programs don't
    make a server faster. So a rate that held has held. One that broke while either was in the way says
    little of the server; that it refused requests is never the generator's fault.
    """
    refused = failures > limits.failures
    if latencies and not refused and latencies.p99_ms <= limits.p99_ms:
        return Verdict.HELD
    late = lag_p99_ms > max(LATE_MS, LATE_SHARE * limits.p99_ms) or cpu > BUSY_CORES
    if others > DISTURBED:
        return Verdict.DISTURBED
    return Verdict.LATE if late and latencies and not refused else Verdict.BROKE
