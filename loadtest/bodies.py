"""What is sent: photos in the ways that clients send them, and requests that must be refused."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from urllib3.filepost import encode_multipart_formdata


@dataclass(frozen=True)
class Body:
    """A request's content and its content type."""

    content: bytes
    kind: str


@dataclass(frozen=True)
class BadRequest:
    """A request that must be refused with this status and type of error."""

    body: Body
    status: int
    error: str


def single(photo: bytes) -> Body:
    """A photo as the body."""
    return Body(photo, "image/jpeg")


def form(photos: Sequence[bytes]) -> Body:
    """Photos as the files of a form."""
    fields = {f"file{i}": (f"{i}.jpg", photo, "image/jpeg") for i, photo in enumerate(photos, 1)}
    return Body(*encode_multipart_formdata(fields))


def _damaged() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, "JPEG")
    return file.getvalue()[:-1000]


BAD = (  # what people send by mistake
    BadRequest(Body(_damaged(), "image/jpeg"), 400, "UnreadableImage"),
    BadRequest(Body(b"", "image/jpeg"), 400, "UnreadableImage"),
    BadRequest(Body(b"<!doctype html><title>404</title>", "image/jpeg"), 415, "UnsupportedFormat"),
    BadRequest(Body(b'{"image": "photo.jpg"}', "application/json"), 422, "WrongJson"),
    BadRequest(form([_damaged()]), 400, "UnreadableImage"),
)
