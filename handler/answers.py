"""A photo from the request that it came in to the answer that goes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from model.answers import Prediction, as_answer, as_error
from model.errors import PhotoError, RequestError
from model.limits import RGB

# How the answer looks: one object, a list, or KServe's {"predictions": [...]}.
Shape = Literal["object", "list", "predictions"]


@dataclass
class Photo:
    """One photo of one request."""

    file: str | None = None  # name of its form field, None outside forms
    content: bytes | bytearray | RequestError = b""  # its bytes, or why there are none
    top_k: int | None = None  # how many classes to answer with, None for all
    explain: bool = False  # whether to answer where the network looked, too
    request_id: str | None = None  # of its request
    pixels: RGB | None = None  # (S, S, 3), once it was read
    format: str | None = None  # of `model.formats`, if it has one of them
    answer: dict[str, Any] = field(default_factory=dict)  # what goes back, with `status` and `phrase`
    status: int = 200
    phrase: str = "OK"
    headers: Mapping[str, str] = field(default_factory=dict)  # that go back with the answer

    def fail(self, error: Exception) -> None:
        """Answer with an error; what isn't the sender's fault is described in the server's log only."""
        self.status, self.phrase = 500, "Internal Server Error"
        if isinstance(error, PhotoError):
            self.status, self.phrase, self.headers = error.status, error.phrase, error.headers
        self.answer = as_error(error, self.file)

    def succeed(self, prediction: Prediction, classes: Sequence[str], version: str) -> None:
        """Answer with a prediction, and where the network looked if that was asked for."""
        self.answer = as_answer(prediction, classes, version, self.file, self.top_k, self.pixels)


@dataclass
class Request:
    """All photos of one request, in order."""

    photos: Sequence[Photo]
    shape: Shape = "object"

    def body(self) -> Any:
        """Lay the answers out as they were asked for."""
        answers = [photo.answer for photo in self.photos]
        if self.shape == "predictions":
            return {"predictions": answers}
        return answers if self.shape == "list" else answers[0]


def server_timing(decode_s: float, inference_s: float) -> str:
    """Say how long a batch took, as the header `Server-Timing` has it: https://www.w3.org/TR/server-timing/."""
    return f"decode;dur={1000 * decode_s:.2f}, inference;dur={1000 * inference_s:.2f}"


def respond(context: Any, index: int, request: Request, headers: Mapping[str, str]) -> Any:
    """Set status, content type and `headers` of request `index` and return its body.

    A request of several photos has status 200 as soon as one of them could be answered.
    """
    first = next((photo for photo in request.photos if photo.status == 200), request.photos[0])
    for name, value in (*headers.items(), *first.headers.items()):
        context.set_response_header(index, name, value)
    context.set_response_content_type(index, "application/json")
    context.set_response_status(first.status, first.phrase, index)
    return request.body()
