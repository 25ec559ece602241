"""What can be wrong with a request here alone; `model.errors` has what can be anywhere."""

from model.errors import RequestError


class DuplicateField(RequestError):
    """Two files of a form share a field name, so TorchServe dropped one. HTTP 400."""


class WrongJson(RequestError):
    """Not JSON, JSON of another shape, or base64 that isn't. HTTP 422."""

    status = 422
    phrase = "Unprocessable Content"


class WrongOption(RequestError):
    """An option that makes no sense. HTTP 422."""

    status = 422
    phrase = "Unprocessable Content"
