"""What a client gets back, for a photo and for what is wrong with one."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.uploads import Shape
from model.answers import as_error
from model.errors import PhotoError
from model.image import RGB
from model.pictures import Heatmap, overlay_png


@dataclass
class Item:
    """One photo of one request on its way to an answer."""

    file: str | None = None
    top_k: int | None = None
    explain: bool = False
    request_id: str | None = None
    pixels: RGB | None = None  # (S, S, 3), set if the photo could be read
    format: str | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    phrase: str = "OK"

    def fail(self, error: Exception) -> None:
        """Answer with an error; what isn't the sender's fault is described in the server's log only."""
        self.pixels = None
        self.status, self.phrase = 500, "Internal Server Error"
        if isinstance(error, PhotoError):
            self.status, self.phrase = error.status, error.phrase
        self.answer = self._named(as_error(error))

    def succeed(self, name: str, classes: Sequence[str], row: Any, version: str) -> None:
        """Answer with `name` and the `top_k` best of a (classes,) row of probabilities."""
        order: Any = range(len(classes))
        if self.top_k is not None:
            order = (-row).argsort(kind="stable")[: self.top_k]  # the best first
        self.answer = self._named(
            {
                "predicted": name,
                "confidence": float(row.max()),
                "probabilities": {classes[i]: float(row[i]) for i in order},
                "model_version": version,
            }
        )

    def _named(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {"file": self.file, **answer} if self.file is not None else answer


@dataclass
class Reply:
    """All answers of one request, in order."""

    items: list[Item]
    shape: Shape = "object"

    def body(self) -> Any:
        """Lay them out as they were asked for."""
        answers = [item.answer for item in self.items]
        if self.shape == "predictions":
            return {"predictions": answers}
        return answers if self.shape == "list" else answers[0]


def explanation(best: str, pixels: RGB, heatmap: Heatmap) -> dict[str, Any]:
    """Show where the network looked: numbers of 0 to 1, and a PNG of the photo as the network saw it."""
    return {
        "class": best,
        "heatmap": [[round(float(value), 4) for value in row] for row in heatmap],
        "overlay_png": base64.b64encode(overlay_png(pixels, heatmap)).decode(),
    }


def server_timing(decode_s: float, inference_s: float) -> str:
    """Say how long a batch took, as the header `Server-Timing` has it: https://www.w3.org/TR/server-timing/."""
    return f"decode;dur={1000 * decode_s:.2f}, inference;dur={1000 * inference_s:.2f}"


def respond(context: Any, index: int, reply: Reply, timing: str) -> Any:
    """Set status, content type and `Server-Timing` of request `index` and return its body.

    A request of several photos has status 200 as soon as one of them could be answered.
    """
    context.set_response_header(index, "Server-Timing", timing)
    first = next((item for item in reply.items if item.status == 200), reply.items[0])
    context.set_response_content_type(index, "application/json")
    context.set_response_status(first.status, first.phrase, index)
    return reply.body()
