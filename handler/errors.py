"""What is wrong with a request as such, whatever the photos in it."""

from model.errors import PhotoError


class RequestError(PhotoError):
    """A request, or one of its photos, isn't sent in a way that can be read. HTTP 400."""


class EmptyRequest(RequestError):
    """No photo in the request. HTTP 400."""


class DuplicateField(RequestError):
    """Two files of a form share a field name, so TorchServe dropped one. HTTP 400."""


class TooManyPhotos(RequestError):
    """More photos than one request may hold. HTTP 413."""

    status = 413
    phrase = "Payload Too Large"


class UnsupportedBody(RequestError):
    """A body that can't be turned back into what was sent. HTTP 415."""

    status = 415
    phrase = "Unsupported Media Type"


class WrongJson(RequestError):
    """Not JSON, JSON of another shape, or base64 that isn't. HTTP 422."""

    status = 422
    phrase = "Unprocessable Content"


class WrongOption(RequestError):
    """An option that makes no sense. HTTP 422."""

    status = 422
    phrase = "Unprocessable Content"
