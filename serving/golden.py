"""Whether a packaged or served model answers the golden photos as training did."""

from collections.abc import Mapping
from typing import Any

from model.bundle import Golden

# Eager PyTorch repeats its probabilities to about 1e-6 on one machine and 1e-4 across CPUs; a change
# of preprocessing that matters moves them by more than 1e-2.
TOLERANCE = 1e-3


def difference(golden: Golden, answer: Mapping[str, Any]) -> str | None:
    """Say how `answer` differs from training's beyond the tolerance, or None."""
    expected, got = golden.probabilities, answer.get("probabilities")
    if not isinstance(got, Mapping):
        return f"{golden.name}: no answer but {dict(answer)}"
    if set(got) != set(expected):
        return f"{golden.name}: classes {sorted(got)}, training had {sorted(expected)}"
    top, gap = max(expected, key=expected.__getitem__), max(abs(got[c] - expected[c]) for c in got)
    # Another top class is right only where training had the two level.
    behind = expected[top] - expected.get(str(answer.get("predicted")), 0.0)
    if gap > TOLERANCE or behind > TOLERANCE:
        return (
            f"{golden.name}: {answer.get('predicted')!r}, training answered {top!r}; probabilities "
            f"differ by up to {gap:.2g}, {TOLERANCE:g} is allowed"
        )
    return None
