"""From an event of API Gateway to the photo in it, and back to a response.

Both payload formats are read, version 1.0 (REST APIs) and 2.0 (HTTP APIs, function URLs); what is used
here is called the same in both:
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart import create_form_parser
from python_multipart.multipart import Field, File

from model.errors import EmptyRequest, RequestError, TooManyPhotos, UnsupportedBody
from model.formats import format_of

Event = Mapping[str, Any]
_SEND = "send a photo with `curl -F file1=@photo.jpg URL`, or as the body with `curl -T photo.jpg URL`"
_REPLACED = "\ufffd"  # what bytes become that are no UTF-8
_ALL_BYTES = 2**30  # Lambda itself takes at most 6 MB


class WrongEncoding(RequestError):
    """The body isn't encoded as the event says. HTTP 400."""


@dataclass(frozen=True)
class Upload:
    """The photo of one request: the name of its form field, None outside forms, and its bytes."""

    file: str | None
    content: bytes


def read_event(event: Event) -> Upload:
    """Take the one photo out of an event.

    Raises:
        RequestError: there is none or more than one, or the body isn't what the event says it is.
    """
    body, kind = _body(event), header(event, "content-type")
    if kind.lower().startswith("application/x-www-form-urlencoded"):
        raise UnsupportedBody(
            "the body was sent as application/x-www-form-urlencoded, curl's default for -d and "
            f"--data-binary; {_SEND}"
        )
    if kind.lower().startswith("multipart/form-data"):
        return _only_photo(body, kind)
    return Upload(None, body)


def header(event: Event, name: str) -> str:
    """Return a header of the request, whose name is in lower case here; "" if it has none."""
    headers = event.get("headers") or {}
    return next((str(value) for key, value in headers.items() if key.lower() == name), "")


def is_explain(event: Event) -> bool:
    """Whether the path asks where the network looked."""
    return str(event.get("rawPath") or event.get("path") or "").startswith("/explanations")


def is_preflight(event: Event) -> bool:
    """Whether a browser asks if a page may ask: https://fetch.spec.whatwg.org/#cors-preflight-fetch."""
    http = (event.get("requestContext") or {}).get("http") or {}
    method = event.get("httpMethod") or http.get("method")
    return method == "OPTIONS" and header(event, "access-control-request-method") != ""


def respond(status: int, answer: Mapping[str, Any] | None, origin: str | None = None) -> dict[str, Any]:
    """Lay out a response as both payload formats take it; pages of `origin` may read it."""
    headers = {"Content-Type": "application/json"}
    if origin:
        headers |= {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    if answer is None:  # to a preflight
        headers |= {"Access-Control-Allow-Methods": "POST, PUT", "Access-Control-Max-Age": "3600"}
        headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    return {
        "statusCode": status,
        "headers": headers,
        "body": "" if answer is None else json.dumps(answer),
        "isBase64Encoded": False,
    }


def _body(event: Event) -> bytes:
    """Undo the encoding of the body, or say what is wrong with it."""
    body = event.get("body")
    if not body:
        raise EmptyRequest(f"the request has no body; {_SEND}")
    if event.get("isBase64Encoded"):
        decoded = _unbase64(body)
        if decoded is None:
            raise WrongEncoding("isBase64Encoded is true, but the body isn't base64")
        return decoded
    if _REPLACED in body:
        raise WrongEncoding(
            "API Gateway took the photo for text, which destroys it; let it pass bytes: of a REST API, "
            "make */* a binary media type"
        )
    decoded = _unbase64(body)
    if decoded is not None and (format_of(decoded) or decoded.startswith(b"--")):
        raise WrongEncoding("isBase64Encoded is false, but the body is base64")
    return str(body).encode()


def _unbase64(body: str) -> bytes | None:
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:  # other characters, padding that is missing
        return None


def _only_photo(body: bytes, kind: str) -> Upload:
    """Read a form: each file is a photo; where there is no file, each field is one."""
    files, fields = _read_form(body, kind)
    photos = files or fields
    if not photos:
        raise EmptyRequest(f"the form has no file, is cut short, or its boundary is wrong; {_SEND}")
    if len(photos) > 1:
        raise TooManyPhotos(
            f"the form has {len(photos)} files, {[photo.file for photo in photos]}, 1 is allowed; send "
            "them one by one"
        )
    return photos[0]


def _read_form(body: bytes, kind: str) -> tuple[list[Upload], list[Upload]]:
    files: list[Upload] = []
    fields: list[Upload] = []

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        files.append(Upload((file.field_name or b"").decode(errors="replace"), file.file_object.read()))

    def on_field(field: Field) -> None:
        fields.append(Upload((field.field_name or b"").decode(errors="replace"), field.value or b""))

    try:
        parser = create_form_parser(
            {"Content-Type": kind.encode("latin-1", "replace")},
            on_field,
            on_file,
            config={"MAX_MEMORY_FILE_SIZE": _ALL_BYTES},
        )
        parser.write(body)
        parser.finalize()
    except ValueError as error:  # the parser's own errors are of that kind
        raise RequestError(f"the form can't be read ({error}); {_SEND}") from error
    return files, fields
