"""What a client gets back, for a photo and for what is wrong with one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import PhotoError
from model.image import RGB


@dataclass
class Item:
    """One photo of one request on its way to an answer."""

    file: str | None
    pixels: RGB | None = None  # (S, S, 3), set if the photo could be read
    answer: dict[str, Any] | None = None
    status: int = 200
    phrase: str = "OK"

    def fail(self, status: int, phrase: str, answer: dict[str, Any]) -> None:
        """Answer with an error."""
        self.status, self.phrase, self.answer = status, phrase, answer


def answer_of(
    classes: Sequence[str], probabilities: Any, version: str, file: str | None
) -> dict[str, Any]:
    """Answer one photo from its (classes,) row of probabilities."""
    best = int(probabilities.argmax())
    answer = {
        "predicted": classes[best],
        "confidence": float(probabilities[best]),
        "probabilities": {name: float(p) for name, p in zip(classes, probabilities, strict=True)},
        "model_version": version,
    }
    return {"file": file, **answer} if file is not None else answer


def error_answer(error: Exception, file: str | None) -> dict[str, Any]:
    """Describe an error; what isn't the sender's fault is described in the server's log only."""
    if isinstance(error, PhotoError):
        answer = {"code": error.status, "type": type(error).__name__, "message": str(error)}
    else:
        answer = {"code": 500, "type": "InternalError", "message": "see the server's log"}
    return {"file": file, **answer} if file is not None else answer


def respond(context: Any, index: int, items: Sequence[Item]) -> Any:
    """Set status and content type of request `index` and return its body.

    One photo is answered by an object, several by a list. A list has status 200 as soon as one photo
    could be answered.
    """
    first = next((item for item in items if item.status == 200), items[0])
    context.set_response_content_type(index, "application/json")
    context.set_response_status(first.status, first.phrase, index)
    return items[0].answer if len(items) == 1 else [item.answer for item in items]
