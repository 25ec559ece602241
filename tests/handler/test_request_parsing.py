"""What TorchServe makes of a request, and the photos that are found in it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ts.service import Service

from handler.answers import Photo, Request
from handler.errors import DuplicateField, WrongJson, WrongOption
from handler.request_parsing import check_pixels, is_describe, is_explain, read_request
from model.errors import EmptyRequest, PhotoTooLarge, RequestError, TooManyPhotos, UnsupportedBody
from model.limits import PhotoLimits

FILE, FIELD = {"content-type": "image/jpeg"}, {"content-type": ""}
FORM, JSON = {"Content-Type": "multipart/form-data; boundary=x"}, {"content-type": "application/json"}
TEXT = base64.b64encode(b"photo").decode()


def read(row: dict[str, Any], headers: dict[str, Any]) -> Request:
    return read_request(row, headers, 3)


def as_json(document: object) -> dict[str, Any]:
    return {"body": json.dumps(document).encode()}


def one(content: bytes, file: str | None = None, top_k: int | None = None) -> Request:
    return Request((Photo(file, content, top_k),), "object")


@pytest.mark.parametrize(
    ("row", "headers", "photos"),
    [
        pytest.param({"body": b"p"}, {"Content-Type": "image/jpeg"}, one(b"p"), id="raw"),
        pytest.param({"body": b"p"}, {}, one(b"p"), id="raw, no content type"),
        pytest.param({"body": b"\xff\xd8\xff"}, JSON, one(b"\xff\xd8\xff"), id="a JPEG sent as JSON"),
        pytest.param({}, {}, one(b""), id="nothing"),
        pytest.param({"body": b"p"}, {"X-Top-K": "2"}, one(b"p", top_k=2), id="top_k in a header"),
        pytest.param(
            {"top_k": bytearray(b"3"), "body": b"p"},
            {"top_k": FIELD},
            one(b"p", top_k=3),
            id="in the query",
        ),
        pytest.param({"file": b"p"}, {**FORM, "file": FILE}, one(b"p", "file"), id="a file"),
        pytest.param({"f": b"p"}, {**FORM, "f": FIELD}, one(b"p", "f"), id="a file sent as a field"),
        pytest.param(
            {"f": b"p", "note": b"hi", "top_k": b"1"},
            {**FORM, "f": FILE, "note": FIELD, "top_k": FIELD},
            one(b"p", "f", 1),
            id="a file beside fields",
        ),
        pytest.param(
            {"a": b"1", "b": b"2"},
            {"content-type": "Multipart/Form-Data", "a": FILE, "b": FILE},
            Request((Photo("a", b"1"), Photo("b", b"2")), "list"),
            id="two files, in order",
        ),
        pytest.param({"body": b"p"}, {**FORM, "body": FILE}, one(b"p", "body"), id="a field named body"),
        pytest.param(as_json({"image": TEXT}), JSON, one(b"photo"), id="JSON"),
        pytest.param(as_json({"b64": TEXT, "top_k": 2}), JSON, one(b"photo", top_k=2), id="JSON, top_k"),
        pytest.param(
            {"body": json.dumps({"image": TEXT}).encode()}, {}, one(b"photo"), id="JSON without a type"
        ),
        pytest.param(
            as_json({"image": f"data:image/png;base64,{TEXT[:4]}\n{TEXT[4:]}"}),
            JSON,
            one(b"photo"),
            id="URL",
        ),
        pytest.param(
            as_json([{"image": TEXT}]), JSON, Request((Photo(None, b"photo"),), "list"), id="JSON list"
        ),
        pytest.param(
            as_json({"instances": [{"b64": TEXT}, {"b64": TEXT, "top_k": 1}], "top_k": 2}),
            JSON,
            Request((Photo(None, b"photo", 2), Photo(None, b"photo", 1)), "predictions"),
            id="KServe V1",
        ),
    ],
)
def test_photos_in_a_request(row: dict[str, Any], headers: dict[str, Any], photos: Request) -> None:
    assert read(row, headers) == photos


@pytest.mark.parametrize(
    ("row", "headers", "error", "message"),
    [
        ({"x": b"y"}, {"Content-Type": "application/x-www-form-urlencoded"}, UnsupportedBody, "curl -T"),
        ({}, FORM, EmptyRequest, "no file, or its boundary is wrong"),
        ({"top_k": b"1"}, {**FORM, "top_k": FIELD}, EmptyRequest, "no file"),
        (as_json([{"image": TEXT}] * 4), JSON, TooManyPhotos, "4 photos, 3 are allowed"),
        ({"body": b"{"}, {}, WrongJson, "isn't JSON"),
        ({"body": b"[" * 100_000}, JSON, WrongJson, "100000 brackets, commas and colons"),
        ({"body": b"[" * 990 + b"]" * 990}, JSON, WrongJson, "isn't JSON"),
        ({"body": b"9" * 5000}, JSON, WrongJson, "isn't JSON"),
        ({"body": b"[" + b"{}," * 1000 + b"{}]"}, JSON, TooManyPhotos, "1001 JSON objects, 3 photos"),
        ({"body": b"[" + b"1," * 2000 + b"1]"}, JSON, WrongJson, "2001 brackets"),
        (as_json("words"), JSON, WrongJson, "'words'"),
        (as_json(None), JSON, WrongJson, "None"),
        (
            as_json({"image": TEXT, "colour": 1}),
            JSON,
            WrongJson,
            r"\['colour'\], \['image', 'b64', 'top_k'\]",
        ),
        (as_json({"image": TEXT, "b64": TEXT}), JSON, WrongJson, 'one of "image" and "b64"'),
        (as_json({"image": "a"}), JSON, WrongJson, "isn't base64"),
        (as_json({"image": f"{TEXT[:4]}!{TEXT[4:]}"}), JSON, WrongJson, "isn't base64"),
        (as_json({"image": "größe"}), JSON, WrongJson, "isn't base64"),
        (as_json({"instances": []}), JSON, WrongJson, "list of one photo or more"),
        (as_json({"image": TEXT, "top_k": True}), JSON, WrongOption, "top_k True must be"),
        ({"body": b'{"image": "", "top_k": 1e999}'}, JSON, WrongOption, "top_k inf must be"),
        ({"body": b'{"image": "", "top_k": NaN}'}, JSON, WrongOption, "top_k nan must be"),
        ({"body": b'{"image": "", "top_k": 2.0}'}, JSON, WrongOption, r"top_k 2\.0 must be"),
        ({"body": b"p"}, {"x-top-k": "1e999"}, WrongOption, "'1e999' must be a whole number from 1"),
        ({"body": b"p"}, {"x-top-k": "0"}, WrongOption, "'0' must be a whole number from 1"),
    ],
)
def test_what_cannot_be_read(
    row: dict[str, Any], headers: dict[str, Any], error: type[RequestError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(row, headers)


def test_one_wrong_photo_of_several_is_its_own_affair() -> None:
    photos = read(as_json([{"image": "no!"}, {"image": TEXT}, 3]), JSON)
    assert [type(upload.content) for upload in photos.photos] == [WrongJson, bytes, WrongJson]


def test_a_file_that_torchserve_dropped_is_missed() -> None:
    """Of two files in fields of one name TorchServe hands over the last."""
    headers = {**FORM, "file": FILE, "Content-Length": "9000"}
    with pytest.raises(DuplicateField, match=r"9000 bytes, .*'file'.*name of its own"):
        read({"file": b"p" * 4000}, headers)
    assert read({"file": b"p" * 8500}, headers).photos[0].file == "file"


def test_limit_on_the_pixels_of_a_request(jpeg: Any) -> None:
    uploads = [
        Photo(None, jpeg()),
        Photo(None, jpeg()),
        Photo(None, b"words"),
        Photo(None, WrongJson()),
    ]
    check_pixels(uploads, PhotoLimits(max_pixels=2 * 64 * 48))
    with pytest.raises(PhotoTooLarge, match="4 photos have 6144 pixels together, 6143 are allowed"):
        check_pixels(uploads, PhotoLimits(max_pixels=2 * 64 * 48 - 1))


def test_who_asks_for_what() -> None:
    """TorchServe sets "explain" on each inference request and "describe" on its own."""
    assert is_explain({"explain": "True"})
    assert not is_explain({"explain": "False", "Explain": "True"})
    assert is_describe({}, {"describe": "True"})
    assert not is_describe({"body": b""}, {"describe": "True", "explain": "False"})
    assert not is_describe({"body": b""}, {"describe": "True"})


def test_a_request_as_torchserve_hands_it_over() -> None:
    request = {
        "requestId": b"1",
        "headers": [{"name": b"Content-Type", "value": b"multipart/form-data; boundary=x"}],
        "parameters": [
            {"name": "top_k", "contentType": "", "value": bytearray(b"3")},
            {"name": "left", "contentType": "image/png", "value": bytearray(b"1")},
            {"name": "right", "contentType": "image/png", "value": bytearray(b"2")},
        ],
    }
    processors, rows, _ = Service.retrieve_data_for_inference([request])
    photos = read(rows[0], processors[0].get_request_properties())
    assert photos == Request((Photo("left", b"1", 3), Photo("right", b"2", 3)), "list")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(TEXT),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["image", "b64", "instances", "top_k", "x"]), inner, max_size=4
        )
    ),
)
_TYPES = st.sampled_from(
    ["application/json", "image/jpeg", "text/plain", "multipart/form-data", "", "?"]
)


@given(body=st.binary() | _JSON.map(lambda value: json.dumps(value).encode()), content_type=_TYPES)
def test_any_body_is_photos_or_an_error_of_the_sender(body: bytes, content_type: str) -> None:
    try:
        photos = read({"body": body}, {"Content-Type": content_type, "body": FILE})
    except RequestError:
        return
    assert photos.photos


@given(content=st.binary(min_size=1))
def test_base64_is_undone(content: bytes) -> None:
    document = {"image": base64.b64encode(content).decode()}
    assert read(as_json(document), JSON).photos[0].content == content


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name.lower() not in ("top_k", "content-type")),
        st.binary(max_size=5000),
        min_size=1,
        max_size=3,
    )
)
def test_any_form_is_its_files_in_order(files: dict[str, bytes]) -> None:
    """As TorchServe hands it over, whatever the fields are called and hold."""
    parts = [{"name": n, "contentType": "image/png", "value": bytearray(v)} for n, v in files.items()]
    sent = [{"name": b"content-type", "value": b"multipart/form-data; boundary=x"}]
    request = {"requestId": b"1", "headers": sent, "parameters": parts}
    processors, rows, _ = Service.retrieve_data_for_inference([request])
    found = read(rows[0], processors[0].get_request_properties())
    assert [(photo.file, bytes(photo.content)) for photo in found.photos] == list(files.items())
    assert found.shape == ("object" if len(files) == 1 else "list")


@given(st.lists(st.binary(min_size=1) | _JSON, min_size=1, max_size=3))
def test_each_entry_of_a_list_is_its_own_affair(entries: list[Any]) -> None:
    """Photos come as they were sent and in order, whatever is beside them."""
    sent = [
        {"image": base64.b64encode(entry).decode()} if isinstance(entry, bytes) else entry
        for entry in entries
    ]
    found = read(as_json(sent), JSON).photos
    assert len(found) == len(entries)
    for photo, entry in zip(found, entries, strict=True):
        if isinstance(entry, bytes):
            assert photo.content == entry
        else:
            assert isinstance(photo.content, bytes | RequestError)
