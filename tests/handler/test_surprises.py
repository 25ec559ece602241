"""What fails inside a worker costs the request that it fails on, and is in the log."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from handler.request_parsing import id_of_the_gate, read_request
from model.bundle import read_bundle
from model.limits import PhotoLimits
from model.predictor import Predictor

if TYPE_CHECKING:
    from tests.handler.conftest import Requests, Worker

AssertRight = Callable[[Any, int], None]


def test_a_surprise_hurts_only_its_request(
    worker: "Worker",
    requests: "Requests",
    photos: list[bytes],
    assert_right: AssertRight,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prepare = Predictor.prepare

    def surprise(predictor: Predictor, photo: bytes, limits: PhotoLimits) -> np.ndarray:
        if photo == photos[1]:
            raise RuntimeError("/secret: out of luck")
        return prepare(predictor, photo, limits)

    monkeypatch.setattr(Predictor, "prepare", surprise)
    batch = [requests.raw(photo) for photo in photos[:3]]
    batch[1]["headers"] = [{"name": b"X-Request-Id", "value": b"c0ffee00" * 4}]  # as the gate gives it
    with caplog.at_level(logging.ERROR):
        first, (status, answer), third = worker.ask(batch)
    assert (status, answer["code"], answer["type"]) == (500, 500, "InternalError")
    assert "secret" not in answer["message"]
    assert "out of luck" in caplog.text
    assert f"request {'c0ffee00' * 4} failed" in caplog.text
    assert worker.headers[1]["X-Model-Version"] == "9.0"
    assert_right(first[1], 0)
    assert_right(third[1], 2)


@pytest.mark.parametrize("sent", ["c0ffee", "x" * 32, f"{'0' * 32}\nERROR all is lost"])
def test_only_the_gates_ids_are_in_the_log(sent: str) -> None:
    assert id_of_the_gate({"X-Request-Id": sent}) is None
    assert id_of_the_gate({"x-request-id": "0" * 32}) == "0" * 32


def test_a_network_that_fails_on_one_photo_answers_the_others(
    worker: "Worker",
    requests: "Requests",
    photos: list[bytes],
    run: Path,
    assert_right: AssertRight,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer, spoiled = Predictor.answer, Predictor(read_bundle(run / "bundle")).prepare(photos[2])

    def surprise(predictor: Predictor, batch: list[np.ndarray], explain: list[bool]) -> object:
        if any(np.array_equal(pixels, spoiled) for pixels in batch):
            raise RuntimeError("out of luck")
        return answer(predictor, batch, explain)

    monkeypatch.setattr(Predictor, "answer", surprise)
    answers = worker.ask([requests.raw(photo) for photo in photos])
    assert [status for status, _ in answers] == [500 if i == 2 else 200 for i in range(len(photos))]
    for i, (_, answer) in enumerate(answers):
        if i != 2:
            assert_right(answer, i)
    assert "request 2 failed" in caplog.text


def test_a_request_that_cannot_even_be_read_is_logged_with_its_id(
    worker: "Worker",
    requests: "Requests",
    photos: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def surprise(row: dict[str, Any], *others: Any) -> object:
        if row["body"] == photos[0]:
            raise KeyError("oh")
        return read_request(row, *others)

    monkeypatch.setattr("handler.flyobj_handler.read_request", surprise)
    (status, answer), (other, _) = worker.ask([requests.raw(photo) for photo in photos[:2]])
    assert (status, answer["type"], other) == (500, "InternalError", 200)
    assert "request 0 failed" in caplog.text
