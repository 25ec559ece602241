"""What an answer is made of; needs no PyTorch."""

from typing import TYPE_CHECKING, Any

from model.errors import PhotoError

if TYPE_CHECKING:
    import numpy as np

UNKNOWN = "unknown"


def as_probabilities(classes: tuple[str, ...], row: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Name a (classes,) row of probabilities."""
    return {name: float(p) for name, p in zip(classes, row, strict=True)}


def as_error(error: Exception) -> dict[str, Any]:
    """Lay out why there is no answer; what isn't the sender's fault stands in the server's log only."""
    if isinstance(error, PhotoError):
        return {"code": error.status, "type": type(error).__name__, "message": str(error)}
    return {"code": 500, "type": "InternalError", "message": "see the server's log"}
