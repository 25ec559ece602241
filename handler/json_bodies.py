"""Photos in JSON: base64 in objects that people write by hand, and KServe's V1 protocol.

    {"image": BASE64, "top_k": 3}                    answered by an object
    [{"image": BASE64}, {"image": BASE64}]           by a list
    {"instances": [{"b64": BASE64}], "top_k": 3}     by {"predictions": [...]}

`top_k` may be left out; a data URL (`data:image/jpeg;base64,...`) is read too. V1 is described at
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol; TorchServe's own
`service_envelope` for it breaks when requests are batched.
"""

import base64
import json
import re
from collections.abc import Sequence
from reprlib import repr as short  # however long and deep a client's value is
from typing import Any

from handler.answers import Photo, Request, Shape
from handler.errors import WrongJson, WrongOption
from model.errors import RequestError, TooManyPhotos

_PHOTO_KEYS = ("image", "b64")
_VALUES = 10  # brackets, commas and colons that the object of a photo has at most, generously
_OBJECTS = 100  # braces beside those of the photos, so that a few photos too many are counted properly
_SPACE = b" \t\r\n\v\f"
_DATA_URL = re.compile(r"data:[^,]{0,100};base64,")
_FORMS = '{"image": BASE64}, a list of these, or {"instances": [{"b64": BASE64}]}'


def parse(body: bytes | bytearray, max_photos: int) -> Any:
    """Parse a body that can hold `max_photos`, but not much more: what it has is counted first.

    A value takes up to a hundred times the memory of its text, and most of a parser's time.

    Raises:
        TooManyPhotos: it has more objects.
        WrongJson: it isn't JSON, or has more values.
    """
    objects = body.count(b"{")
    if objects > _OBJECTS + max_photos:
        raise TooManyPhotos(f"the body has {objects} JSON objects, {max_photos} photos are allowed")
    values = sum(map(body.count, (b"[", b",", b":")))
    if values > _VALUES * (_OBJECTS + max_photos):
        raise WrongJson(
            f"the body has {values} brackets, commas and colons, more than {max_photos} photos need; "
            f"send {_FORMS}"
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # too deep
        raise WrongJson(f"the body isn't JSON ({str(error)[:100]}); send {_FORMS}") from error


def read_json(document: Any) -> Request:
    """List the photos of a parsed body; raises `RequestError` if it has another shape."""
    if isinstance(document, dict) and "instances" in document:
        _check_keys(document, ("instances", "top_k"))
        return _read_several(document["instances"], "predictions", read_top_k(document.get("top_k")))
    if isinstance(document, dict):
        return Request((_read_photo(document),), "object")
    if isinstance(document, list):
        return _read_several(document, "list", None)
    raise WrongJson(f"the JSON body is {short(document)}; send {_FORMS}")


def read_top_k(value: Any) -> int | None:
    """Check how many classes are asked for; None for all of them."""
    if value is None:
        return None
    text = value.decode(errors="replace") if isinstance(value, bytes | bytearray) else value
    if isinstance(text, str) and re.fullmatch(r"\s*\d{1,18}\s*", text, re.ASCII):
        text = int(text)
    if type(text) is not int or text < 1:  # a bool is an int, too
        raise WrongOption(f"top_k {short(value)} must be a whole number from 1")
    return text


def _read_several(entries: Any, shape: Shape, top_k: int | None) -> Request:
    if not isinstance(entries, list) or not entries:
        raise WrongJson(f"{short(entries)} must be a list of one photo or more; send {_FORMS}")
    return Request(tuple(_read_entry(entry, top_k) for entry in entries), shape)


def _read_entry(entry: Any, top_k: int | None) -> Photo:
    """Read one of several photos; what is wrong with it is its own affair."""
    try:
        return _read_photo(entry, top_k)
    except RequestError as error:
        return Photo(None, error)


def _read_photo(entry: Any, top_k: int | None = None) -> Photo:
    if not isinstance(entry, dict):
        raise WrongJson(f"a photo must be a JSON object, this is {short(entry)}; send {_FORMS}")
    _check_keys(entry, (*_PHOTO_KEYS, "top_k"))
    given = [entry[key] for key in _PHOTO_KEYS if key in entry]
    if len(given) != 1 or not isinstance(given[0], str):
        raise WrongJson(f'a photo needs one of "image" and "b64" with base64 text; send {_FORMS}')
    own = read_top_k(entry.get("top_k"))
    return Photo(None, _decode(given[0]), own if own is not None else top_k)


def _check_keys(document: dict[str, Any], allowed: Sequence[str]) -> None:
    if strange := [key for key in document if key not in allowed]:
        raise WrongJson(f"unknown keys {short(strange)}, {list(allowed)} are allowed")


def _decode(text: str) -> bytes:
    """Undo base64, with line breaks or as a data URL."""
    start = _DATA_URL.match(text)
    try:
        code = text[start.end() if start else 0 :].encode("ascii").translate(None, _SPACE)
        return base64.b64decode(code, validate=True)
    except ValueError as error:  # characters beyond ASCII, too
        raise WrongJson(
            f"the photo isn't base64 ({str(error)[:100]}); encode the file's bytes"
        ) from error
