"""What a client gets back, with TorchServe's own context."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from ts.context import Context, RequestProcessor

from handler.answers import Photo, Request, Shape, respond, server_timing
from handler.errors import WrongJson
from model.answers import Prediction, as_explanation
from model.errors import (
    PhotoError,
    PhotoTooLarge,
    RequestError,
    UnreadableImage,
    UnsupportedFormat,
)

PROBABILITIES = np.array([0.125, 0.75, 0.125], np.float32)
RIGHT = {
    "predicted": "b",
    "confidence": 0.75,
    "probabilities": {"a": 0.125, "b": 0.75, "c": 0.125},
    "model_version": "1.2",
}
HEADERS = {"Server-Timing": server_timing(0.00125, 0.007), "X-Model-Version": "1.0"}


@pytest.fixture
def context() -> Context:
    context = Context("m", ".", {}, 2, None, "0.12")
    context.request_processor = [RequestProcessor({}), RequestProcessor({})]
    return context


def failed(error: Exception, file: str | None = None) -> Photo:
    item = Photo(file)
    item.fail(error)
    return item


def answered(file: str | None = None, top_k: int | None = None) -> Photo:
    item = Photo(file, top_k=top_k)
    item.succeed(Prediction("b", PROBABILITIES), "abc", "1.2")
    return item


def test_answer() -> None:
    answer = answered().answer
    assert answer == RIGHT
    assert json.loads(json.dumps(answer)) == RIGHT


def test_an_answer_to_a_form_names_its_field() -> None:
    assert answered("left").answer == {"file": "left", **RIGHT}


@pytest.mark.parametrize(
    ("top_k", "classes"), [(1, ["b"]), (2, ["b", "a"]), (3, ["b", "a", "c"]), (9, ["b", "a", "c"])]
)
def test_top_k_are_the_best_ones_in_order(top_k: int, classes: list[str]) -> None:
    answer = answered(top_k=top_k).answer
    assert list(answer["probabilities"]) == classes
    assert answer["confidence"] == 0.75


def test_a_photo_that_is_not_named_keeps_its_probabilities() -> None:
    item = Photo()
    item.succeed(Prediction("unknown", PROBABILITIES), "abc", "1.2")
    assert item.answer == {**RIGHT, "predicted": "unknown"}


@pytest.mark.parametrize(
    ("error", "status", "phrase"),
    [
        (UnreadableImage, 400, "Bad Request"),
        (PhotoTooLarge, 413, "Payload Too Large"),
        (UnsupportedFormat, 415, "Unsupported Media Type"),
        (WrongJson, 422, "Unprocessable Content"),
    ],
)
def test_a_bad_photo(context: Context, error: type[PhotoError], status: int, phrase: str) -> None:
    body = respond(context, 1, Request([failed(error("größer"))]), HEADERS)
    assert body == {"code": status, "type": error.__name__, "message": "größer"}
    assert context.get_response_status(1) == (status, phrase)
    assert context.get_response_status(0)[0] == 200


def test_phrases_are_ascii_as_anything_else_ends_the_worker() -> None:
    kinds = [PhotoError, *PhotoError.__subclasses__(), *RequestError.__subclasses__()]
    assert all(kind.phrase.isascii() and 400 <= kind.status < 500 for kind in kinds)


def test_what_is_our_fault_is_not_told_to_clients() -> None:
    item = failed(RuntimeError("/secret/path"), "left")
    assert (item.status, item.answer["code"], item.answer["file"]) == (500, 500, "left")
    assert "secret" not in json.dumps(item.answer)


@pytest.mark.parametrize(
    ("shape", "body"),
    [("object", RIGHT), ("list", [RIGHT]), ("predictions", {"predictions": [RIGHT]})],
)
def test_shapes(context: Context, shape: Shape, body: object) -> None:
    assert respond(context, 0, Request([answered()], shape), HEADERS) == body
    assert context.get_response_status(0) == (200, "OK")
    assert context.get_response_content_type(0) == "application/json"


def test_one_good_photo_of_several_is_enough_for_200(context: Context) -> None:
    bad, good = failed(UnreadableImage("half"), "x"), answered("y")
    assert respond(context, 0, Request([bad, good], "list"), HEADERS) == [bad.answer, good.answer]
    assert context.get_response_status(0) == (200, "OK")


def test_several_without_a_right_answer_have_the_first_ones_status(context: Context) -> None:
    items = [failed(UnsupportedFormat("text"), "x"), failed(UnreadableImage("h"), "y")]
    respond(context, 0, Request(items, "list"), HEADERS)
    assert context.get_response_status(0)[0] == 415


def test_how_long_it_took_is_in_a_header_as_the_standard_has_it(context: Context) -> None:
    respond(context, 1, Request([answered()]), HEADERS)
    headers = context.get_response_headers(1)
    assert headers["Server-Timing"] == "decode;dur=1.25, inference;dur=7.00"
    assert headers["X-Model-Version"] == "1.0"


def test_an_explanation_is_json_with_a_picture_of_the_photos_size() -> None:
    shown = as_explanation("b", np.zeros((64, 64, 3), np.uint8), np.array([[0, 1]], np.float32))
    assert json.loads(json.dumps(shown))["heatmap"] == [[0.0, 1.0]]
    assert shown["class"] == "b"
    overlay = Image.open(io.BytesIO(base64.b64decode(shown["overlay_png"])))
    assert (overlay.format, overlay.size) == ("PNG", (64, 64))
