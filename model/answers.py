"""What an answer is made of; needs no PyTorch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

UNKNOWN = "unknown"


def as_probabilities(classes: tuple[str, ...], row: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Name a (classes,) row of probabilities."""
    return {name: float(p) for name, p in zip(classes, row, strict=True)}
