"""From what TorchServe makes of a request to the photos in it.

What its front end hands over was found by asking it: a raw body is `{"body": bytearray}`; a form has one
entry for each field. JSON and text come as bytes, too, as the handler tells TorchServe to leave them.
`/predictions` drops query parameters, `/invocations` and `/models/NAME/invoke` pass them on as entries
without a content type. Header names keep the sender's case.
"""

import math
import re
from collections.abc import Mapping, Sequence
from reprlib import repr as short  # however many a client sends
from typing import Any

from handler.answers import Photo, Request
from handler.errors import DuplicateField
from handler.json_bodies import parse, read_json, read_top_k
from model.decoding_cost import declared_size
from model.errors import EmptyRequest, PhotoTooLarge, TooManyPhotos, UnsupportedBody
from model.formats import format_of
from model.limits import PhotoLimits

Row = Mapping[str, Any]
_TOP_K = "top_k"
_TOP_K_HEADER = "x-top-k"
# Bytes of a form that aren't content: boundary, names and headers of each part, generously.
_FORM_BYTES, _PART_BYTES = 1024, 1024
_FIELDS = 100  # of a form beside its photos; more aren't looked at


def id_of_the_gate(headers: Row) -> str | None:
    """Return the id under which the gate has the request in its log; None if it came another way."""
    found = re.fullmatch(r"[0-9a-f]{32}", _header(headers, "x-request-id"))
    return found[0] if found else None


def is_explain(headers: Row) -> bool:
    """Whether the request came to `/explanations` or `:explain`, as TorchServe notes in "explain"."""
    return headers.get("explain") == "True"


def is_describe(row: Row, headers: Row) -> bool:
    """Whether the management API asks for a description.

    TorchServe sets "explain" on each inference request, so nobody else can pass for it.
    """
    return headers.get("describe") == "True" and "explain" not in headers and not row


def read_request(row: Row, headers: Row, max_photos: int) -> Request:
    """List the photos of one request.

    Args:
        row: the request as TorchServe hands it over.
        headers: its headers, and for each entry of `row` a mapping with the "content-type".
        max_photos: that it may hold.

    Raises:
        RequestError: there is no photo to be found, or there are too many.
    """
    if len(row) > _FIELDS + max_photos:
        raise TooManyPhotos(
            f"the form has {len(row)} fields, {max_photos} photos are allowed; send fewer"
        )
    kind = _header(headers, "content-type")
    if kind.startswith("application/x-www-form-urlencoded"):
        raise UnsupportedBody(
            "the body was sent as application/x-www-form-urlencoded, curl's default for -d and "
            "--data-binary, which changes its bytes; send a photo with `curl -T photo.jpg`, or "
            "give -H 'Content-Type: application/octet-stream'"
        )
    if kind.startswith("multipart/form-data"):
        request = _read_form(row, headers)
    else:
        top_k = row.get(_TOP_K, _header(headers, _TOP_K_HEADER) or None)
        request = _read_body(row.get("body", b""), kind, top_k, max_photos)
    if len(request.photos) > max_photos:
        raise TooManyPhotos(
            f"the request has {len(request.photos)} photos, {max_photos} are allowed; send fewer"
        )
    return request


def check_pixels(photos: Sequence[Photo], limits: PhotoLimits) -> None:
    """Compare the pixels of all photos of a request with `max_pixels`, or a batch could take minutes.

    Raises:
        PhotoTooLarge: they have more. One that is refused for itself doesn't count.
    """
    if len(photos) < 2:
        return
    pixels = 0
    for photo in photos:
        if isinstance(photo.content, bytes | bytearray):
            own = math.prod(declared_size(photo.content) or (0,))
            pixels += own if own <= limits.max_pixels else 0
    if pixels > limits.max_pixels:
        raise PhotoTooLarge(
            f"the request's {len(photos)} photos have {pixels} pixels together, "
            f"{limits.max_pixels} are allowed; send them one by one"
        )


def _read_body(content: bytes | bytearray, kind: str, top_k: Any, max_photos: int) -> Request:
    """Read a raw body by its content: JSON or a photo."""
    is_json = kind.startswith("application/json") or content[:100].lstrip()[:1] in (b"{", b"[")
    if content and is_json and not format_of(content):
        return read_json(parse(content, max_photos))
    return Request((Photo(None, content, read_top_k(top_k)),), "object")


def _read_form(row: Row, headers: Row) -> Request:
    """Read a form: each file is a photo; where there is no file, each field but `top_k` is one."""
    fields = {name: value for name, value in row.items() if name != _TOP_K}
    files = {name: value for name, value in fields.items() if _part_type(headers, name)} or fields
    if not files:
        raise EmptyRequest("the form has no file, or its boundary is wrong; send -F file1=@photo.jpg")
    _require_nothing_dropped(row, headers)
    top_k = read_top_k(row.get(_TOP_K))
    photos = tuple(Photo(name, content, top_k) for name, content in files.items())
    return Request(photos, "object" if len(photos) == 1 else "list")


def _require_nothing_dropped(row: Row, headers: Row) -> None:
    """Refuse a form from which TorchServe dropped a photo: of fields with one name it keeps the last.

    It shows by the length of the body, so a file of less than about 2 KiB can go unnoticed.
    """
    length = _header(headers, "content-length")
    if not length.isdecimal():
        return
    kept = sum(len(value) + _PART_BYTES for value in row.values())
    if int(length) > kept + _FORM_BYTES:
        raise DuplicateField(
            f"the form has {length} bytes, but the fields {short(list(row))} account for at most "
            f"{kept}: two fields share a name, and TorchServe keeps the last; give each file a name of "
            "its own"
        )


def _part_type(headers: Row, name: str) -> str:
    part = headers.get(name)
    return str(part.get("content-type") or "") if isinstance(part, Mapping) else ""


def _header(headers: Row, wanted: str) -> str:
    """Find a header whatever its case; entries of the row are among them as mappings."""
    for name, value in headers.items():
        if name.lower() == wanted and isinstance(value, str):
            return value.strip().lower()
    return ""
