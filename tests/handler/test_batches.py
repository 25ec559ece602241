"""A batch in a worker: each request gets its own answer, and a bad photo hurts only itself."""

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from handler.metrics import HandlerMetrics
from model.bundle import read_bundle
from model.predictor import Predictor

if TYPE_CHECKING:
    from tests.handler.conftest import Requests, Worker

AssertRight = Callable[[Any, int], None]


@pytest.mark.parametrize("n", range(1, 10))
def test_batches_of_any_size(
    worker: "Worker", requests: "Requests", photos: list[bytes], assert_right: AssertRight, n: int
) -> None:
    numbers = [i % len(photos) for i in range(n)]
    answers = worker.ask([requests.raw(photos[i]) for i in numbers])
    for i, (status, answer) in zip(numbers, answers, strict=True):
        assert status == 200
        assert_right(answer, i)
        assert "file" not in answer


@pytest.mark.parametrize(
    ("bad", "status", "kind"),
    [
        (b"words", 415, "UnsupportedFormat"),
        (b"", 400, "UnreadableImage"),
        (b"\xff\xd8\xff\xe0 no more than a start", 400, "UnreadableImage"),
        (b"\xff" * (20 * 2**20 + 1), 413, "PhotoTooLarge"),
    ],
)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_bad_photo_hurts_only_itself(
    worker: "Worker",
    requests: "Requests",
    photos: list[bytes],
    assert_right: AssertRight,
    bad: bytes,
    status: int,
    kind: str,
    place: int,
) -> None:
    batch = [requests.raw(photo) for photo in photos]
    batch[place] = requests.raw(bad)
    answers = worker.ask(batch)
    code, answer = answers.pop(place)
    assert (code, answer["code"], answer["type"]) == (status, status, kind)
    assert set(answer) == {"code", "type", "message"}
    for i, (code, answer) in zip([i for i in range(8) if i != place], answers, strict=True):
        assert code == 200
        assert_right(answer, i)


def test_a_batch_of_nothing_but_bad_photos(worker: "Worker", requests: "Requests") -> None:
    batch = [requests.raw(b"words"), requests.raw(b""), {"parameters": []}]
    assert [status for status, _ in worker.ask(batch)] == [415, 400, 400]


def test_two_files_in_one_request(
    worker: "Worker", requests: "Requests", photos: list[bytes], assert_right: AssertRight
) -> None:
    (status, both), (other, one) = worker.ask(
        [requests.form(left=photos[0], right=photos[1]), requests.form(file=photos[2])]
    )
    assert status == other == 200
    assert [answer["file"] for answer in both] == ["left", "right"]
    for number, answer in enumerate([*both, one]):
        assert_right(answer, number)
    assert one["file"] == "file"


def test_one_bad_file_of_two(
    worker: "Worker", requests: "Requests", photos: list[bytes], assert_right: AssertRight
) -> None:
    ((status, (bad, good)),) = worker.ask([requests.form(bad=b"words", good=photos[1])])
    assert status == 200
    assert (bad["file"], bad["code"], bad["type"]) == ("bad", 415, "UnsupportedFormat")
    assert_right(good, 1)


@pytest.mark.parametrize(
    "value",
    [{"image": "x"}, [1, 2], 3.5, None, True, "words", "\ud800"],
    ids=["object", "list", "number", "null", "true", "string", "half a character"],
)
def test_json_without_a_photo(
    worker: "Worker", requests: "Requests", photos: list[bytes], value: object
) -> None:
    (status, answer), (other, _) = worker.ask([requests.json(value), requests.raw(photos[0])])
    first = answer[0] if isinstance(value, list) else answer
    assert (status, first["type"]) == (422, "WrongJson")
    assert other == 200


def test_the_same_answer_however_a_photo_is_sent(
    worker: "Worker", requests: "Requests", photos: list[bytes], assert_right: AssertRight
) -> None:
    first, second = (requests.b64(photo) for photo in photos[:2])
    (_, one), (_, several), (_, v1), (_, sent) = worker.ask(
        [
            requests.json({"image": first}),
            requests.json([{"image": first}, {"image": second}]),
            requests.json({"instances": [{"b64": first}, {"b64": second}]}),
            requests.raw(photos[0]),
        ]
    )
    assert one == sent == several[0] == v1["predictions"][0]
    assert several == v1["predictions"]
    assert_right(one, 0)
    assert_right(several[1], 1)


def test_v1_answers_each_instance_in_order(
    worker: "Worker", requests: "Requests", photos: list[bytes]
) -> None:
    instances = [{"b64": requests.b64(b"words")}, {"b64": requests.b64(photos[0])}, {"b64": "!"}]
    ((status, answer),) = worker.ask([requests.json({"instances": instances, "top_k": 1})])
    assert status == 200
    bad, good, wrong = answer["predictions"]
    assert (bad["code"], wrong["code"]) == (415, 422)
    assert list(good["probabilities"]) == [good["predicted"]]


def test_explanation_description_and_prediction_share_a_batch(
    worker: "Worker", requests: "Requests", photos: list[bytes], run: Path, assert_right: AssertRight
) -> None:
    explained = [requests.explain(photos[1]), requests.explain(b"words")]
    (_, first), (_, shown), (_, described), (status, bad) = worker.ask(
        [requests.raw(photos[0]), explained[0], requests.describe(), explained[1]]
    )
    assert "explanation" not in first
    assert_right(first, 0)
    assert_right(shown, 1)
    assert shown["explanation"]["class"] == shown["predicted"]
    predictor = Predictor(read_bundle(run / "bundle"))
    prepared = predictor.prepare(photos[1])
    (prediction,) = predictor.answer([prepared], explain=[True])
    assert prediction.heatmap is not None
    np.testing.assert_allclose(shown["explanation"]["heatmap"], prediction.heatmap, atol=1e-4)
    picture = Image.open(io.BytesIO(base64.b64decode(shown["explanation"]["overlay_png"])))
    assert picture.size == prepared.shape[:2]
    assert (status, bad["type"]) == (415, "UnsupportedFormat")
    assert described["classes"] == list(predictor.classes)


def test_many_photos_in_few_requests_go_through_the_network_in_parts(
    worker: "Worker",
    requests: "Requests",
    photos: list[bytes],
    assert_right: AssertRight,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer, sizes = Predictor.answer, []

    def counted(predictor: Predictor, batch: list[np.ndarray], explain: list[bool]) -> object:
        sizes.append(len(batch))
        return answer(predictor, batch, explain)

    monkeypatch.setattr(Predictor, "answer", counted)
    numbers = [i % len(photos) for i in range(10)]
    request = requests.json([{"image": requests.b64(photos[i])} for i in numbers])
    for _, answers in worker.ask([request, request]):
        for i, answer in zip(numbers, answers, strict=True):
            assert_right(answer, i)
    assert sizes == [8, 8, 4]


def test_the_times_of_a_batch_are_of_its_steps(
    worker: "Worker", requests: "Requests", photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the metrics and in the answers' header alike."""
    answer, noted = Predictor.answer, []

    def slowly(predictor: Predictor, batch: list[np.ndarray], explain: list[bool]) -> object:
        time.sleep(0.3)
        return answer(predictor, batch, explain)

    monkeypatch.setattr(Predictor, "answer", slowly)
    monkeypatch.setattr(HandlerMetrics, "batch", lambda _, *figures: noted.append(figures))
    worker.ask([requests.raw(photos[0])])
    ((count, _, decode_s, inference_s, whole_s),) = noted
    assert (count, inference_s >= 0.3, decode_s > 0) == (1, True, True)
    assert whole_s >= decode_s + inference_s
    said = f"decode;dur={1000 * decode_s:.2f}, inference;dur={1000 * inference_s:.2f}"
    assert worker.headers[0]["Server-Timing"] == said
