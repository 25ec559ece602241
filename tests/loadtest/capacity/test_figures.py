"""What a probe's figures are made of."""

import pytest

from loadtest.capacity.figures import (
    Latencies,
    LatencyLimits,
    figures_of,
    judge,
    percentile_interval,
)
from loadtest.capacity.generator import LoadResult
from loadtest.capacity.search import Verdict

LIMITS = LatencyLimits(p99_ms=100)


def test_a_percentiles_interval_is_by_ranks() -> None:
    values = [float(n) for n in range(1, 1001)]
    # 1.96 standard deviations of a binomial(1000, 0.99) are 6.2 ranks
    assert percentile_interval(values, 0.99) == (984, 997)
    assert percentile_interval(values[:20], 0.99) == (19, 20)


def sent(latency_s: list[float], fault: list[str | None], cpu: float = 0.2) -> LoadResult:
    lag_s = [0.001] * len(latency_s)
    return LoadResult(0.0, cpu, lag_s, latency_s, fault, [0 if f else 200 for f in fault])


def test_the_warm_up_is_not_counted() -> None:
    arrivals = [0.5, 1.5, 2.5, 3.5, 4.5]
    load = sent([9.0, 9.0, 0.010, 0.020, 0.030], ["slow", None, None, None, None])
    figures = figures_of(load, arrivals, 2.0, LIMITS)
    assert figures.latencies == Latencies(20.0, 30.0, 30.0, (30.0, 30.0))
    assert (figures.requests, figures.failed, figures.lag_p99_ms) == (3, 0, 1.0)
    assert figures.verdict is Verdict.HELD


def test_what_fails_has_no_latency_and_is_named() -> None:
    load = sent([0.010, 0.001, 0.001, 0.001], [None, "status 503", "OSError", "status 503"])
    figures = figures_of(load, [1, 2, 3, 4], 0.0, LIMITS)
    assert figures.latencies
    assert figures.latencies.p99_ms == 10
    assert list(figures.faults.items()) == [("status 503", 2), ("OSError", 1)]
    assert figures.verdict is Verdict.BROKE


def test_what_was_not_sent_has_failed() -> None:
    figures = figures_of(sent([0.010, 0.010], [None, None]), [1, 2, 3, 4], 0.0, LIMITS)
    assert (figures.requests, figures.unsent, figures.failed) == (4, 2, 2)
    assert figures.verdict is Verdict.BROKE


def test_nothing_sent_after_the_warm_up() -> None:
    figures = figures_of(sent([0.010], ["OSError"]), [0, 3, 4], 2.0, LIMITS)
    assert (figures.requests, figures.failed, figures.latencies) == (2, 2, None)
    assert figures.verdict is Verdict.BROKE


FAST, SLOW = (Latencies(1, 1, p99, (1, p99)) for p99 in (100.0, 100.1))


@pytest.mark.parametrize(
    ("failures", "latencies", "lag_ms", "cpu", "others", "verdict"),
    [
        (0.0, FAST, 1, 0.2, 0.0, Verdict.HELD),
        (0.001, FAST, 1, 0.2, 0.0, Verdict.HELD),
        (0.0011, FAST, 1, 0.2, 0.0, Verdict.BROKE),
        (0.0, SLOW, 1, 0.2, 0.0, Verdict.BROKE),
        (0.0, SLOW, 10, 0.85, 0.15, Verdict.BROKE),
        (0.0, SLOW, 10.1, 0.2, 0.0, Verdict.LATE),
        (0.0, SLOW, 1, 0.86, 0.0, Verdict.LATE),
        (0.0, SLOW, 1, 0.2, 0.16, Verdict.DISTURBED),
        (0.2, SLOW, 1, 0.2, 0.16, Verdict.DISTURBED),
        (0.0, FAST, 50, 0.99, 0.9, Verdict.HELD),  # neither makes an answer faster
        (0.2, SLOW, 50, 0.99, 0.0, Verdict.BROKE),  # a refusal isn't the generator's fault
        (0.0, None, 1, 0.2, 0.0, Verdict.BROKE),
    ],
)
def test_a_rate_holds_breaks_or_is_not_known(
    failures: float,
    latencies: Latencies | None,
    lag_ms: float,
    cpu: float,
    others: float,
    verdict: Verdict,
) -> None:
    assert judge(failures, latencies, lag_ms, cpu, others, LIMITS) is verdict
