"""Every word of an answer: the handler's, Lambda's and evaluation's. Needs no PyTorch.

    {"file": "left", "predicted": "Flying Birds", "confidence": 0.97, "novelty": 0.41,
     "probabilities": {...}, "model_version": "1.0"}

`novelty` is the share of known photos that look at least as strange as this one. It, `file`, the name of
a form's field, and `model_version` are left out where there is none.
"""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from model.errors import PhotoError

if TYPE_CHECKING:
    from model.limits import RGB
    from model.pictures import Heatmap

UNKNOWN = "unknown"


class Prediction(NamedTuple):
    """What the model says of one photo."""

    name: str  # the best class, or "unknown"
    row: Any  # (classes,) probabilities
    novelty: float | None = None  # see `model.novelty`; None of older models
    heatmap: "Heatmap | None" = None  # where the network looked, if that was asked


def as_probabilities(classes: Sequence[str], row: Any) -> dict[str, float]:
    """Name a (classes,) row of probabilities."""
    return {name: float(p) for name, p in zip(classes, row, strict=True)}


def as_answer(
    prediction: Prediction,
    classes: Sequence[str],
    version: str | None = None,
    file: str | None = None,
    top_k: int | None = None,
    pixels: "RGB | None" = None,
) -> dict[str, Any]:
    """Word a prediction, with all probabilities or the `top_k` best, best first.

    With its photo's `pixels` it shows where the network looked, if that was asked for.
    """
    row = prediction.row
    probabilities = as_probabilities(classes, row)
    if top_k is not None:
        order = (-row).argsort(kind="stable")[:top_k]
        probabilities = {classes[i]: probabilities[classes[i]] for i in order}
    answer = {"predicted": prediction.name, "confidence": float(row.max())}
    if prediction.novelty is not None:
        answer["novelty"] = prediction.novelty
    answer["probabilities"] = probabilities
    if version is not None:
        answer["model_version"] = version
    if prediction.heatmap is not None and pixels is not None:
        answer["explanation"] = as_explanation(classes[int(row.argmax())], pixels, prediction.heatmap)
    return _with_file(answer, file)


def as_explanation(best: str, pixels: "RGB", heatmap: "Heatmap") -> dict[str, Any]:
    """Show where the network looked: numbers of 0 to 1, and a PNG of the photo as the network saw it."""
    from model.pictures import overlay_png  # a probe that reads answers does without OpenCV

    return {
        "class": best,
        "heatmap": [[round(float(value), 4) for value in row] for row in heatmap],
        "overlay_png": base64.b64encode(overlay_png(pixels, heatmap)).decode(),
    }


def as_error(error: Exception, file: str | None = None) -> dict[str, Any]:
    """Lay out why there is no answer; what isn't the sender's fault is in the server's log only."""
    answer = {"code": 500, "type": "InternalError", "message": "see the server's log"}
    if isinstance(error, PhotoError):
        answer = {"code": error.status, "type": type(error).__name__, "message": str(error)}
    return _with_file(answer, file)


def _with_file(answer: dict[str, Any], file: str | None) -> dict[str, Any]:
    return answer if file is None else {"file": file, **answer}
