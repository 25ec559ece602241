"""From what TorchServe makes of a request to the photos in it.

A raw body arrives as `{"body": bytes}`; a multipart body as one entry for each part under its field's
name. Query parameters arrive among them, without a content type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Upload:
    """One photo as sent. `file` is the name of its multipart field, None for a raw body."""

    file: str | None
    content: bytes | bytearray


def read_uploads(row: Mapping[str, Any], properties: Mapping[str, Any]) -> list[Upload]:
    """List the photos of one request; a request without any has one that is empty.

    Args:
        row: the request as TorchServe hands it over.
        properties: its headers, and for each entry of `row` a mapping with the "content-type".
    """
    if "body" in row and not _content_type(properties).startswith("multipart/"):
        return [Upload(None, _bytes(row["body"]))]
    parts = [
        Upload(name, _bytes(value))
        for name, value in row.items()
        if isinstance(properties.get(name), Mapping) and properties[name].get("content-type")
    ]
    return parts or [Upload(None, b"")]


def _content_type(properties: Mapping[str, Any]) -> str:
    for name, value in properties.items():
        if name.lower() == "content-type" and isinstance(value, str):
            return value.lower()
    return ""


def _bytes(value: Any) -> bytes | bytearray:
    """Undo what TorchServe parsed for us: text and JSON are no photos, decoding will say so."""
    if isinstance(value, bytes | bytearray):
        return value
    return str(value).encode(errors="replace")
