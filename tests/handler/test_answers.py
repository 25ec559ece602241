"""What a client gets back, with TorchServe's own context."""

import json

import numpy as np
import pytest
from ts.context import Context, RequestProcessor

from handler.answers import Item, answer_of, error_answer, respond
from model.errors import PhotoError, PhotoTooLarge, UnreadableImage, UnsupportedFormat

PROBABILITIES = np.array([0.125, 0.75, 0.125], np.float32)
RIGHT = {
    "predicted": "b",
    "confidence": 0.75,
    "probabilities": {"a": 0.125, "b": 0.75, "c": 0.125},
    "model_version": "1.2",
}


@pytest.fixture
def context() -> Context:
    context = Context("m", ".", {}, 2, None, "0.12")
    context.request_processor = [RequestProcessor({}), RequestProcessor({})]
    return context


def failed(error: PhotoError, file: str | None = None) -> Item:
    item = Item(file)
    item.fail(error.status, error.phrase, error_answer(error, file))
    return item


def test_answer() -> None:
    answer = answer_of("abc", PROBABILITIES, "1.2", None)
    assert answer == RIGHT
    assert json.loads(json.dumps(answer)) == RIGHT


def test_an_answer_to_a_multipart_upload_names_it() -> None:
    assert answer_of("abc", PROBABILITIES, "1.2", "left") == {"file": "left", **RIGHT}


@pytest.mark.parametrize(
    ("error", "status", "phrase"),
    [
        (UnreadableImage, 400, "Bad Request"),
        (PhotoTooLarge, 413, "Payload Too Large"),
        (UnsupportedFormat, 415, "Unsupported Media Type"),
    ],
)
def test_a_bad_photo(context: Context, error: type[PhotoError], status: int, phrase: str) -> None:
    body = respond(context, 1, [failed(error("größer"))])
    assert body == {"code": status, "type": error.__name__, "message": "größer"}
    assert context.get_response_status(1) == (status, phrase)
    assert phrase.isascii()  # anything else ends the worker
    assert context.get_response_status(0)[0] == 200


def test_what_is_our_fault_is_not_told_to_clients() -> None:
    answer = error_answer(RuntimeError("/secret/path"), "left")
    assert answer["code"] == 500
    assert answer["file"] == "left"
    assert "secret" not in json.dumps(answer)


def test_one_photo_is_answered_by_an_object(context: Context) -> None:
    assert respond(context, 0, [Item(None, answer=RIGHT)]) == RIGHT
    assert context.get_response_status(0) == (200, "OK")
    assert context.get_response_content_type(0) == "application/json"


def test_several_are_answered_by_a_list(context: Context) -> None:
    bad, good = failed(UnreadableImage("half"), "x"), Item("y", answer=RIGHT)
    assert respond(context, 0, [bad, good]) == [bad.answer, RIGHT]
    assert context.get_response_status(0) == (200, "OK")


def test_a_list_without_a_right_answer_has_the_first_ones_status(context: Context) -> None:
    respond(context, 0, [failed(UnsupportedFormat("text"), "x"), failed(UnreadableImage("h"), "y")])
    assert context.get_response_status(0)[0] == 415
