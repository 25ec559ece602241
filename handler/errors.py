"""What can be wrong with a request here alone; `model.errors` has what can be anywhere."""

from collections.abc import Mapping
from typing import ClassVar

from model.errors import PhotoTooSlow, RequestError


class DuplicateField(RequestError):
    """Two files of a form share a field name, so TorchServe dropped one. HTTP 400."""


class BatchTooCostly(PhotoTooSlow):
    """The photo costs more than its batch has left for it beside the others. HTTP 413 for now."""

    # Which is for a 413, too, if it may pass: RFC 9110, section 15.5.14.
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}

    @classmethod
    def beside_others(cls, what: str) -> "BatchTooCostly":
        """Say that the photo `what`, which would be fine by itself."""
        return cls(
            f"the photo {what}, more than is left beside the costly photos that came at the same time; "
            "send it again, or a smaller one"
        )


class WrongJson(RequestError):
    """Not JSON, JSON of another shape, or base64 that isn't. HTTP 422."""

    status = 422
    phrase = "Unprocessable Content"


class WrongOption(RequestError):
    """An option that makes no sense. HTTP 422."""

    status = 422
    phrase = "Unprocessable Content"
