"""The handler on an unpacked archive with TorchServe's own context: a bad photo hurts only itself."""

import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ts.context import Context
from ts.protocol.otf_message_handler import create_predict_response
from ts.service import Service

from handler.flyobj_handler import FlyingObjectsHandler
from model.bundle import as_probabilities, read_bundle
from model.image import DEFAULT_LIMITS, Limits
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
def test_json_and_text_are_no_photos(ask: Ask, photos: list[bytes], value: object) -> None:
    (status, answer), (other, _) = ask([raw(value), raw(photos[0])])  # type: ignore[arg-type]
    assert (status, answer["type"]) == (415, "UnsupportedFormat")
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


def test_the_limits_in_the_settings_are_the_defaults(unpacked: Path) -> None:
    settings = yaml.safe_load((unpacked / "model-config.yaml").read_text())
    assert Limits(**settings["handler"]["limits"]) == DEFAULT_LIMITS
