"""The photos of one request, however they were sent."""

from dataclasses import dataclass
from typing import Literal

from model.errors import RequestError

# How the answer looks: one object, a list, or KServe's {"predictions": [...]}.
Shape = Literal["object", "list", "predictions"]


@dataclass(frozen=True)
class Upload:
    """One photo as sent.

    Attributes:
        file: name of its form field, None outside forms.
        content: its bytes, or why there are none.
        top_k: how many classes to answer with, None for all.
    """

    file: str | None
    content: bytes | bytearray | RequestError
    top_k: int | None = None


@dataclass(frozen=True)
class Photos:
    """All photos of one request, in order."""

    uploads: tuple[Upload, ...]
    shape: Shape
