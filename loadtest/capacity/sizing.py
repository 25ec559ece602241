"""From a measured knee to machines and costs."""

import math

HEADROOM = 0.3  # of a machine's knee left unused: traffic isn't as even as a probe's minute
SPARE = 1  # machines that may be down


def machines(rate: float, knee: float, headroom: float = HEADROOM, spare: int = SPARE) -> int:
    """Say how many machines answer `rate` requests/s within the limit, even with `spare` of them down.

    Each sustains `knee` requests/s at its limit, and is planned for what `headroom` leaves of that.
    """
    return math.ceil(rate / (knee * (1 - headroom))) + spare


def core_hours(cpu_ms: float, answers: int = 1_000_000) -> float:
    """Convert CPU-milliseconds an answer to hours of one core for this many answers."""
    return cpu_ms * answers / 3_600_000
