"""The handler on an unpacked archive with TorchServe's own context: a bad photo hurts only itself."""

import base64
import io
import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from ts.context import Context
from ts.protocol.otf_message_handler import create_predict_response
from ts.service import Service

from handler.flyobj_handler import FlyingObjectsHandler
from handler.requests import read_request
from model.bundle import as_probabilities, read_bundle
from model.errors import FlyobjError
from model.formats import FORMATS
from model.image import DEFAULT_LIMITS
from model.predictor import Predictor

Row = dict[str, Any]


@pytest.fixture(scope="module")
def unpacked(archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(archive_path) as files:
        files.extractall(folder)
    return folder


def new_context(unpacked: Path) -> Context:
    manifest = json.loads((unpacked / "MAR-INF" / "MANIFEST.json").read_text())
    settings = yaml.safe_load((unpacked / "model-config.yaml").read_text())
    return Context(
        "flying_objects", str(unpacked), manifest, 8, None, "0.12", model_yaml_config=settings
    )


@pytest.fixture
def handler(unpacked: Path) -> FlyingObjectsHandler:
    handler = FlyingObjectsHandler()
    handler.initialize(new_context(unpacked))
    return handler


@pytest.fixture
def ask(handler: FlyingObjectsHandler, unpacked: Path) -> Callable[[list[Row]], list[Any]]:
    """Ask a batch through TorchServe's own reading and writing: [(status, answer), ...]."""

    def ask(requests: list[Row]) -> list[tuple[int, Any]]:
        context = new_context(unpacked)
        processors, rows, ids = Service.retrieve_data_for_inference(
            [{"requestId": str(i).encode(), **request} for i, request in enumerate(requests)]
        )
        context.request_processor, context.request_ids = processors, ids
        answers = handler.handle(rows, context)
        assert len(answers) == len(requests)
        create_predict_response(answers, ids, "", 200, context=context)  # what is sent to the server
        statuses = [context.get_response_status(i)[0] for i in range(len(rows))]
        types = {context.get_response_content_type(i) for i in range(len(rows))}
        assert types == {"application/json"}
        return list(zip(statuses, json.loads(json.dumps(answers)), strict=True))

    return ask


Ask = Callable[[list[Row]], list[tuple[int, Any]]]


def raw(photo: bytes) -> Row:
    return {"parameters": [{"name": "body", "contentType": "image/jpeg", "value": photo}]}


def multipart(**parts: bytes) -> Row:
    return {
        "headers": [{"name": b"content-type", "value": b"multipart/form-data; boundary=x"}],
        "parameters": [
            {"name": n, "contentType": "application/octet-stream", "value": v} for n, v in parts.items()
        ],
    }


@pytest.fixture(scope="module")
def expected(run: Path, photos: list[bytes]) -> list[dict[str, float]]:
    predictor = Predictor(read_bundle(run / "bundle"))
    rows = [predictor.predict([predictor.prepare(photo)])[0] for photo in photos]
    return [as_probabilities(predictor.classes, row) for row in rows]


def assert_right(answer: Row, expected: dict[str, float]) -> None:
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert answer["predicted"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["confidence"] == max(answer["probabilities"].values())
    assert answer["model_version"] == "1.0"


@pytest.mark.parametrize("n", range(1, 10))
def test_batches_of_any_size(
    ask: Ask, photos: list[bytes], expected: list[dict[str, float]], n: int
) -> None:
    numbers = [i % len(photos) for i in range(n)]
    for i, (status, answer) in zip(numbers, ask([raw(photos[i]) for i in numbers]), strict=True):
        assert status == 200
        assert_right(answer, expected[i])
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
    ask: Ask,
    photos: list[bytes],
    expected: list[dict[str, float]],
    bad: bytes,
    status: int,
    kind: str,
    place: int,
) -> None:
    rows = [raw(photo) for photo in photos]
    rows[place] = raw(bad)
    answers = ask(rows)
    code, answer = answers.pop(place)
    assert (code, answer["code"], answer["type"]) == (status, status, kind)
    assert set(answer) == {"code", "type", "message"}
    for i, (code, answer) in zip([i for i in range(8) if i != place], answers, strict=True):
        assert code == 200
        assert_right(answer, expected[i])


def test_a_batch_of_nothing_but_bad_photos(ask: Ask) -> None:
    assert [status for status, _ in ask([raw(b"words"), raw(b""), {"parameters": []}])] == [
        415,
        400,
        400,
    ]


def test_two_files_in_one_request(
    ask: Ask, photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    (status, both), (other, one) = ask(
        [multipart(left=photos[0], right=photos[1]), multipart(file=photos[2])]
    )
    assert status == other == 200
    assert [answer["file"] for answer in both] == ["left", "right"]
    for answer, right in zip([*both, one], expected, strict=False):
        assert_right(answer, right)
    assert one["file"] == "file"


def test_one_bad_file_of_two(ask: Ask, photos: list[bytes], expected: list[dict[str, float]]) -> None:
    ((status, (bad, good)),) = ask([multipart(bad=b"words", good=photos[1])])
    assert status == 200
    assert (bad["file"], bad["code"], bad["type"]) == ("bad", 415, "UnsupportedFormat")
    assert_right(good, expected[1])


@pytest.mark.parametrize(
    "value",
    [{"image": "x"}, [1, 2], 3.5, None, True, "words", "\ud800"],
    ids=["object", "list", "number", "null", "true", "string", "half a character"],
)
def test_json_and_text_without_a_photo(ask: Ask, photos: list[bytes], value: object) -> None:
    (status, answer), (other, _) = ask([raw(value), raw(photos[0])])  # type: ignore[arg-type]
    wrong = (415, "UnsupportedFormat") if isinstance(value, str) else (422, "WrongJson")
    first = answer[0] if isinstance(value, list) else answer
    assert (status, first["type"]) == wrong
    assert other == 200


def test_a_surprise_hurts_only_its_request(
    handler: FlyingObjectsHandler,
    ask: Ask,
    photos: list[bytes],
    expected: list[dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prepare = handler._predictor.prepare

    def surprise(photo: bytes) -> np.ndarray:
        if photo == photos[1]:
            raise RuntimeError("/secret: out of luck")
        return prepare(photo)

    monkeypatch.setattr(handler._predictor, "prepare", surprise)
    with caplog.at_level(logging.ERROR):
        first, (status, answer), third = ask([raw(photo) for photo in photos[:3]])
    assert (status, answer["code"], answer["type"]) == (500, 500, "InternalError")
    assert "secret" not in answer["message"]
    assert "out of luck" in caplog.text
    assert_right(first[1], expected[0])
    assert_right(third[1], expected[2])


def test_limits_come_from_the_archives_settings(unpacked: Path, photos: list[bytes]) -> None:
    context = new_context(unpacked)
    context.model_yaml_config["handler"]["limits"]["max_bytes"] = 1000
    handler = FlyingObjectsHandler()
    handler.initialize(context)
    processors, rows, ids = Service.retrieve_data_for_inference([{"requestId": b"0", **raw(photos[0])}])
    context.request_processor, context.request_ids = processors, ids
    (answer,) = handler.handle(rows, context)
    assert answer["type"] == "PhotoTooLarge"
    assert " 1000 " in answer["message"]


def as_json(document: object) -> Row:
    return {
        "headers": [{"name": b"Content-Type", "value": b"application/json"}],
        "parameters": [{"name": "body", "contentType": "application/json", "value": document}],
    }


def explained(photo: bytes) -> Row:
    return {"headers": [{"name": b"explain", "value": b"True"}], **raw(photo)}


DESCRIBED: Row = {"headers": [{"name": b"describe", "value": b"True"}], "parameters": []}


def b64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def test_the_same_answer_however_a_photo_is_sent(
    ask: Ask, photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    (_, one), (_, several), (_, v1), (_, sent) = ask(
        [
            as_json({"image": b64(photos[0])}),
            as_json([{"image": b64(photos[0])}, {"image": b64(photos[1])}]),
            as_json({"instances": [{"b64": b64(photos[0])}, {"b64": b64(photos[1])}]}),
            raw(photos[0]),
        ]
    )
    assert one == sent == several[0] == v1["predictions"][0]
    assert several == v1["predictions"]
    assert_right(one, expected[0])
    assert_right(several[1], expected[1])


def test_v1_answers_each_instance_in_order(ask: Ask, photos: list[bytes]) -> None:
    instances = [{"b64": b64(b"words")}, {"b64": b64(photos[0])}, {"b64": "!"}]
    ((status, answer),) = ask([as_json({"instances": instances, "top_k": 1})])
    assert status == 200
    bad, good, wrong = answer["predictions"]
    assert (bad["code"], wrong["code"]) == (415, 422)
    assert list(good["probabilities"]) == [good["predicted"]]


def test_explanation_description_and_prediction_share_a_batch(
    ask: Ask, handler: FlyingObjectsHandler, photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    (_, first), (_, shown), (_, described), (status, bad) = ask(
        [raw(photos[0]), explained(photos[1]), DESCRIBED, explained(b"words")]
    )
    assert "explanation" not in first
    assert_right(first, expected[0])
    assert_right(shown, expected[1])
    assert shown["explanation"]["class"] == shown["predicted"]
    prepared = handler._predictor.prepare(photos[1])
    (heatmap,) = handler._predictor.explain([prepared])
    np.testing.assert_allclose(shown["explanation"]["heatmap"], heatmap, atol=1e-4)
    picture = Image.open(io.BytesIO(base64.b64decode(shown["explanation"]["overlay_png"])))
    assert picture.size == prepared.shape[:2]
    assert (status, bad["type"]) == (415, "UnsupportedFormat")
    assert described["classes"] == list(handler._predictor.classes)


def test_description(ask: Ask, run: Path, unpacked: Path) -> None:
    ((status, described),) = ask([DESCRIBED])
    spec = read_bundle(run / "bundle").spec
    assert status == 200
    assert described["classes"] == list(spec.classes)
    assert described["input_size"] == 64
    assert described["formats"] == list(FORMATS)
    assert described["limits"] == {**asdict(DEFAULT_LIMITS), "max_photos": 16}
    assert described["data_fingerprint"] == spec.data_fingerprint
    assert described["engine"].startswith("PyTorch 2.")
    assert described["calibration"] == {"temperature": 1.0, "reject_below": None}
    metrics = unpacked / "bundle" / "metrics.json"
    assert described["metrics"] == (json.loads(metrics.read_text()) if metrics.exists() else None)


def test_a_network_that_fails_on_one_photo_answers_the_others(
    handler: FlyingObjectsHandler,
    ask: Ask,
    photos: list[bytes],
    expected: list[dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    predict, spoiled = handler._predictor.predict, handler._predictor.prepare(photos[2])

    def surprise(batch: list[np.ndarray]) -> np.ndarray:
        if any(np.array_equal(pixels, spoiled) for pixels in batch):
            raise RuntimeError("out of luck")
        return predict(batch)

    monkeypatch.setattr(handler._predictor, "predict", surprise)
    answers = ask([raw(photo) for photo in photos])
    assert [status for status, _ in answers] == [500 if i == 2 else 200 for i in range(len(photos))]
    for i, (_, answer) in enumerate(answers):
        if i != 2:
            assert_right(answer, expected[i])
    assert "request 2 failed" in caplog.text


def test_many_photos_in_few_requests_go_through_the_network_in_parts(
    handler: FlyingObjectsHandler,
    ask: Ask,
    photos: list[bytes],
    expected: list[dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict, sizes = handler._predictor.predict, []

    def counted(batch: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(batch))
        return predict(batch)

    monkeypatch.setattr(handler._predictor, "predict", counted)
    numbers = [i % len(photos) for i in range(10)]
    request = as_json([{"image": b64(photos[i])} for i in numbers])
    for _, answers in ask([request, request]):
        for i, answer in zip(numbers, answers, strict=True):
            assert_right(answer, expected[i])
    assert sizes == [8, 8, 4]


def test_a_request_that_cannot_even_be_read_is_logged_with_its_id(
    ask: Ask,
    photos: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def surprise(row: Row, *_: object) -> object:
        if row["body"] == photos[0]:
            raise KeyError("oh")
        return read_request(row, *_)  # type: ignore[arg-type]

    monkeypatch.setattr("handler.flyobj_handler.read_request", surprise)
    (status, answer), (other, _) = ask([raw(photos[0]), raw(photos[1])])
    assert (status, answer["type"], other) == (500, "InternalError", 200)
    assert "request 0 failed" in caplog.text


def with_calibration(unpacked: Path, folder: Path, **values: float) -> Context:
    copy = shutil.copytree(unpacked, folder / "model")
    path = copy / "bundle" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "calibration": values}))
    return new_context(copy)


def test_below_the_threshold_a_photo_is_unknown(
    unpacked: Path, tmp_path: Path, photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    best = sorted(max(e.values()) for e in expected)
    threshold = (best[0] + best[-1]) / 2
    context = with_calibration(unpacked, tmp_path, reject_below=threshold)
    handler = FlyingObjectsHandler()
    handler.initialize(context)  # the golden answers are right in spite of "unknown"
    rows = [{"requestId": str(i).encode(), **raw(photo)} for i, photo in enumerate(photos)]
    processors, batch, ids = Service.retrieve_data_for_inference(rows)
    context.request_processor, context.request_ids = processors, ids
    for answer, right in zip(handler.handle(batch, context), expected, strict=True):
        assert (answer["predicted"] == "unknown") == (max(right.values()) < threshold)
        assert answer["probabilities"] == pytest.approx(right, abs=1e-5)


def test_a_worker_that_would_answer_wrongly_does_not_start(
    unpacked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handler = FlyingObjectsHandler()
    with pytest.raises(FlyobjError, match="otherwise than training did"):
        handler.initialize(with_calibration(unpacked, tmp_path, temperature=3.0))
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith("this worker doesn't start: the model answers")
    assert "\n" not in line
