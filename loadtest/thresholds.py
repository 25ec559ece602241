"""What a load test must not be over, given as options; over one, Locust's exit code is 1."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Thresholds:
    """Thresholds; None for any.

    Attributes:
        p50_ms: half of the answers may take longer.
        p95_ms: 5 % may.
        p99_ms: 1 % may.
        failures: share of requests that may fail, 0 to 1.
        rate: right answers a second, at least.
    """

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    failures: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class RunFigures:
    """What a run had. Times are of all requests together, failed ones too, as in Locust's last line."""

    requests: int
    failures: int
    seconds: float  # from the first request to the last
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return (self.requests - self.failures) / self.seconds if self.seconds else 0.0


def add_options(group: Any) -> None:
    """Add the thresholds to a group of Locust's options."""
    for percent in (50, 95, 99):
        slow = f"Exit code 1 if {100 - percent} %% of the requests take longer"
        group.add_argument(f"--max-p{percent}-ms", type=_above_zero, metavar="MS", help=slow)
    bad = "Exit code 1 if a larger share of the requests fails, e.g. 0.01; without it, if any fails"
    group.add_argument("--max-failures", type=_share, metavar="SHARE", help=bad)
    few = "Exit code 1 if there are fewer correct answers a second"
    group.add_argument("--min-rate", type=_above_zero, metavar="N", help=few)


def read_limits(options: Any) -> Thresholds:
    """Read what was given."""
    times = options.max_p50_ms, options.max_p95_ms, options.max_p99_ms
    return Thresholds(*times, options.max_failures, options.min_rate)


def read_figures(stats: Any) -> RunFigures:
    """Take the figures out of Locust's statistics."""
    total = stats.total
    seconds = (stats.last_request_timestamp or 0.0) - stats.start_time
    percentiles = (total.get_response_time_percentile(share) for share in (0.5, 0.95, 0.99))
    return RunFigures(total.num_requests, total.num_failures, max(0.0, seconds), *percentiles)


def breaches(figures: RunFigures, limits: Thresholds) -> list[str]:
    """Name each threshold that was crossed, with value and limit."""
    if limits == Thresholds():
        return []
    if not figures.requests:
        return ["no request was made, so the thresholds can't be checked"]
    found = []
    for name in ("p50", "p95", "p99"):
        value, limit = getattr(figures, f"{name}_ms"), getattr(limits, f"{name}_ms")
        if limit is not None and value > limit:
            found.append(f"{name} {value:g} ms is over --max-{name}-ms {limit:g}")
    share = figures.failures / figures.requests
    if limits.failures is not None and share > limits.failures:
        found.append(
            f"failures {share:.4f} ({figures.failures} of {figures.requests} requests) are over "
            f"--max-failures {limits.failures:g}"
        )
    if limits.rate is not None and figures.rate < limits.rate:
        found.append(f"rate {figures.rate:.1f} correct answers/s is under --min-rate {limits.rate:g}")
    return found


def _above_zero(text: str) -> float:
    return _number(text, lambda value: value > 0, "a number above 0, such as 100")


def _share(text: str) -> float:
    return _number(text, lambda value: 0 <= value <= 1, "a share from 0 to 1, such as 0.01 for 1 %")


def _number(text: str, is_allowed: Callable[[float], bool], allowed: str) -> float:
    """Read a finite number."""
    with suppress(ValueError):
        value = float(text)
        if math.isfinite(value) and is_allowed(value):
            return value
    raise ArgumentTypeError(f"{text!r} must be {allowed}")
