"""What TorchServe makes of a request, and the photos that are found in it."""

from typing import Any

import pytest
from ts.service import Service

from handler.uploads import Upload, read_uploads

JPEG = {"content-type": "image/jpeg"}


@pytest.mark.parametrize(
    ("row", "properties", "uploads"),
    [
        pytest.param({"body": b"p"}, {"Content-Type": "image/jpeg"}, [(None, b"p")], id="raw"),
        pytest.param({"body": b"p"}, {}, [(None, b"p")], id="raw, no content type"),
        pytest.param(
            {"file": b"p"},
            {"content-type": "multipart/form-data", "file": JPEG},
            [("file", b"p")],
            id="a part",
        ),
        pytest.param(
            {"a": b"1", "b": b"2"},
            {"Content-Type": "Multipart/Form-Data", "a": JPEG, "b": JPEG},
            [("a", b"1"), ("b", b"2")],
            id="two parts, in order",
        ),
        pytest.param(
            {"body": b"p"},
            {"content-type": "multipart/form-data", "body": JPEG},
            [("body", b"p")],
            id="a part of the name body",
        ),
        pytest.param(
            {"top": "3", "body": b"p"},
            {"top": {"content-type": ""}},
            [(None, b"p")],
            id="a query parameter beside a raw body",
        ),
        pytest.param(
            {"top": "3", "file": b"p"},
            {"content-type": "multipart/form-data", "top": {"content-type": ""}, "file": JPEG},
            [("file", b"p")],
            id="a query parameter beside a part",
        ),
        pytest.param({}, {}, [(None, b"")], id="nothing"),
        pytest.param(
            {"top": "3"}, {"top": {"content-type": ""}}, [(None, b"")], id="a query parameter only"
        ),
        pytest.param({"body": {"k": 1}}, {}, [(None, b"{'k': 1}")], id="JSON, parsed"),
        pytest.param({"body": "größe"}, {}, [(None, "größe".encode())], id="text, decoded"),
    ],
)
def test_photos_in_a_request(
    row: dict[str, Any], properties: dict[str, Any], uploads: list[tuple[str | None, bytes]]
) -> None:
    assert read_uploads(row, properties) == [Upload(*upload) for upload in uploads]


def test_text_that_is_no_unicode_is_still_bytes() -> None:
    """JSON's "\\ud800" is parsed to half a character."""
    (upload,) = read_uploads({"body": "\ud800"}, {})
    assert isinstance(upload.content, bytes)


def test_a_request_as_torchserve_hands_it_over() -> None:
    request = {
        "requestId": b"1",
        "headers": [{"name": b"Content-Type", "value": b"multipart/form-data; boundary=x"}],
        "parameters": [
            {"name": "top", "contentType": "", "value": b"3"},
            {"name": "left", "contentType": "image/png", "value": bytearray(b"1")},
            {"name": "right", "contentType": "image/png", "value": bytearray(b"2")},
        ],
    }
    processors, rows, _ = Service.retrieve_data_for_inference([request])
    uploads = read_uploads(rows[0], processors[0].get_request_properties())
    assert uploads == [Upload("left", b"1"), Upload("right", b"2")]
