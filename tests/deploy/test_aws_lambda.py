"""The function through AWS's own runtime client: its answers, its refusals, and how it starts."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from benchmarks.reliability.costly_photos import PHOTOS
from benchmarks.speed.lambda_runtime import Function, FunctionFailed, form_event, http_event
from serving.archive.isolated import open_archive
from serving.archive.s3 import push

if TYPE_CHECKING:
    from tests.conftest import Bucket

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[[object], tuple[int, Any]]
StartFunction = Callable[..., Function]


def test_the_answers_are_the_archives(ask: Ask, archive_path: Path, photos: list[bytes]) -> None:
    """In both payload formats, as a form and as the body."""
    with open_archive(archive_path, "openvino") as archive:
        expected = archive.answer(photos)
    assert len({answer["confidence"] for answer in expected}) == len(photos)  # none stands for another
    for photo, right in zip(photos, expected, strict=True):
        for version in ("1.0", "2.0"):
            for event, named in (
                (form_event(photo, "file1", version), {"file": "file1"}),
                (http_event(photo, "image/jpeg", version), {}),
            ):
                status, answer = ask(event)
                assert status == 200
                assert answer == {
                    **named,
                    "predicted": f"That seems to be {right['predicted']}",
                    "confidence": pytest.approx(right["confidence"], abs=1e-5),
                    "novelty": pytest.approx(right["novelty"], abs=1e-4),
                    "probabilities": pytest.approx(right["probabilities"], abs=1e-5),
                    "model_version": "1.0",
                }


def test_the_order_of_an_answer(ask: Ask, photos: list[bytes]) -> None:
    """The file and what it seems to be come first, as the function's users know them."""
    keys = ["file", "predicted", "confidence", "novelty", "probabilities", "model_version"]
    assert list(ask(form_event(photos[0]))[1]) == keys
    shown = ask({**form_event(photos[0]), "rawPath": "/explanations/photo.jpg"})[1]
    assert list(shown) == [*keys, "explanation"]
    assert max(map(max, shown["explanation"]["heatmap"])) == 1


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def two_files(photo: bytes) -> dict[str, Any]:
    form = form_event(photo)
    body = base64.b64decode(form["body"])
    boundary = body[: body.index(b"\r\n")]
    first = body[: body.index(boundary + b"--")]
    return form | {"body": b64(first + body.replace(b'"file1"', b'"file2"'))}


def text(body: bytes) -> dict[str, Any]:
    """What a REST API makes of bytes that it takes for text."""
    return {"body": body.decode(errors="replace"), "isBase64Encoded": False}


def huge() -> bytes:
    file = io.BytesIO()
    Image.new("1", (20_001, 4)).save(file, "PNG")
    return file.getvalue()


RAW: Callable[[bytes], dict[str, Any]] = lambda photo: http_event(photo, "image/jpeg")  # noqa: E731
Make = Callable[[bytes], dict[str, Any]]


@pytest.mark.parametrize(
    ("make", "code", "kind", "message"),
    [
        (lambda _: {}, 400, "EmptyRequest", "no body.*curl -F file1=@photo.jpg"),
        (lambda _: RAW(b"") | {"body": None}, 400, "EmptyRequest", "no body"),
        (lambda _: RAW(b"") | {"headers": None}, 400, "EmptyRequest", "no body"),
        (lambda p: RAW(p) | {"isBase64Encoded": False}, 400, "WrongEncoding", "false, but .* is base64"),
        (
            lambda p: form_event(p) | {"isBase64Encoded": False},
            400,
            "WrongEncoding",
            "false, but the body is base64",
        ),
        (lambda _: RAW(b"") | {"body": "%%%"}, 400, "WrongEncoding", "true, but .* isn't base64"),
        (lambda _: RAW(b"") | {"body": "ä"}, 400, "WrongEncoding", "true, but .* isn't base64"),
        (lambda p: RAW(p) | text(p), 400, "WrongEncoding", r"took the photo for text.*\*/\*"),
        (two_files, 413, "TooManyPhotos", r"2 files, \['file1', 'file2'\], 1 is allowed"),
        (lambda p: form_event(p[:-20]), 400, "UnreadableImage", "can't be decoded to its end"),
        (lambda _: RAW(huge()), 413, "PhotoTooLarge", "20001 x 4 pixels"),
        (lambda _: RAW(PHOTOS["BMP, ends of lines"]()), 413, "PhotoTooSlow", "more than 1.5 s of CPU"),
        # On a busy machine so much memory takes too long, too.
        (
            lambda _: RAW(PHOTOS["TIFF, tags that share bytes"]()),
            413,
            "PhotoTooCostly|PhotoTooSlow",
            "more than (768 MiB|1.5 s)",
        ),
        (lambda _: RAW(b"hello"), 415, "UnsupportedFormat", "'hello' and is no photo"),
        (lambda _: RAW(b"") | text(b"hello"), 415, "UnsupportedFormat", "'hello' and is no photo"),
        (lambda p: http_event(p, "multipart/form-data"), 400, "RequestError", "form can't be read"),
        (
            lambda p: http_event(p, "multipart/form-data; boundary=x"),
            400,
            "RequestError",
            "form can't be read",
        ),
        (
            lambda _: http_event(b"--x--\r\n", "multipart/form-data; boundary=x"),
            400,
            "EmptyRequest",
            "form has no file",
        ),
        (
            lambda p: http_event(p, "application/x-www-form-urlencoded", "1.0"),
            415,
            "UnsupportedBody",
            "curl's default for -d",
        ),
    ],
)
def test_what_cannot_be_answered(
    ask: Ask, photos: list[bytes], make: Make, code: int, kind: str, message: str
) -> None:
    status, answer = ask(make(photos[0]))
    assert (status, answer["code"]) == (code, code)
    assert re.fullmatch(kind, answer["type"])
    assert set(answer) == {"code", "type", "message"}
    assert re.search(message, answer["message"]), answer["message"]


def test_a_field_without_a_file_name_is_a_photo_too(ask: Ask, photos: list[bytes]) -> None:
    form = form_event(photos[0])
    body = base64.b64decode(form["body"]).replace(b'; filename="photo.jpg"', b"")
    status, answer = ask(form | {"body": b64(body)})
    assert (status, answer["file"]) == (200, "file1")


def test_a_surprise_is_in_the_log_only(ask: Ask, function: Function) -> None:
    """No event of API Gateway has such a body."""
    status, answer = ask({"body": 7})
    assert (status, answer["type"]) == (500, "InternalError")
    assert "TypeError" in function.log()
    assert "TypeError" not in answer["message"]


def test_it_comes_from_s3(
    start: Callable[..., Function],
    bucket: "Bucket",
    archive_path: Path,
    photos: list[bytes],
    ask: Ask,
    s3_server: str,
) -> None:
    names = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    settings = {f"AWS_{name}": value for name, value in names.items()}
    url = push(archive_path, bucket.url("models/")).url
    event = form_event(photos[0])
    assert start(url, **settings).invoke(event)["body"] == json.dumps(ask(event)[1])
    with pytest.raises(FunctionFailed, match=r"init/error.*NoSuchKey"):
        start(bucket.url("none.mar"), **settings)
    bucket.put("models/changed.mar", archive_path.read_bytes(), "0" * 64)
    with pytest.raises(FunctionFailed, match=r"init/error.*has sha256 \w{64}, its metadata say 0000"):
        start(bucket.url("models/changed.mar"), **settings)


def test_pages_of_named_origins_may_ask(
    start: StartFunction, unpacked: Path, photos: list[bytes], ask: Ask
) -> None:
    own = "https://app.example.org"
    function = start(unpacked, FLYOBJ_ALLOW_ORIGINS=f"{own} http://localhost:3000")
    for version in ("1.0", "2.0"):
        event = http_event(photos[0], "image/jpeg", version)
        asks = {"Access-Control-Request-Method": "POST"}
        preflight = json.loads(json.dumps(event).replace('"POST"', '"OPTIONS"')) | {"body": None}
        preflight["headers"] = {"origin": own, **asks}
        allowed = function.invoke(preflight)
        assert (allowed["statusCode"], allowed["body"]) == (204, "")
        assert allowed["headers"]["Access-Control-Allow-Origin"] == own
        assert allowed["headers"]["Access-Control-Allow-Methods"] == "POST, PUT"
        for body, status in ((event["body"], 200), (b64(b"words"), 415)):  # a page may read why, too
            sent = {**event["headers"], "Origin": own}
            answer = function.invoke(event | {"body": body, "headers": sent})
            assert (answer["statusCode"], answer["headers"]["Vary"]) == (status, "Origin")
            assert answer["headers"]["Access-Control-Allow-Origin"] == own
        for origin in (f"{own}.evil", "null", ""):
            preflight["headers"]["origin"] = origin
            refused = function.invoke(preflight)
            assert (refused["statusCode"], len(refused["headers"])) == (400, 1)
    assert ask(event | {"headers": {**event["headers"], "Origin": own}})[0] == 200  # and no headers
    with pytest.raises(FunctionFailed, match=r"init/error.*give 'https://app\.example\.org'"):
        start(unpacked, FLYOBJ_ALLOW_ORIGINS=f"{own}/photos")


@pytest.mark.parametrize("place", ["", "nowhere"])
def test_without_an_archive_it_does_not_start(start: Callable[..., Function], place: str) -> None:
    with pytest.raises(FunctionFailed, match=r"init/error: \w+: .*FLYOBJ_ARCHIVE is '.*s3://BUCKET"):
        start(place)


def test_other_answers_than_trainings_do_not_start(
    start: Callable[..., Function], unpacked: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(unpacked, tmp_path / "changed")
    golden = changed / "bundle" / "golden" / "golden.json"
    document = json.loads(golden.read_text())
    values = document[0]["probabilities"]
    worst, best = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    values[worst], values[best] = values[best], values[worst]
    golden.write_text(json.dumps(document))
    with pytest.raises(FunctionFailed, match=r"init/error.*differently from training"):
        start(changed)


def test_an_archive_without_a_graph_does_not_start(
    start: Callable[..., Function], unpacked: Path, tmp_path: Path
) -> None:
    plain = shutil.copytree(unpacked, tmp_path / "plain", ignore=shutil.ignore_patterns("engines"))
    with pytest.raises(FunctionFailed, match=r"init/error.*flyobj archive --engine openvino"):
        start(plain)


def test_it_runs_on_model_alone(image: Path, unpacked: Path) -> None:
    """On the image's copy of it, without PyTorch and all that is there for training and serving."""
    script = """
import json, sys
import deploy.aws_lambda.function
print(json.dumps({name: getattr(module, "__file__", "") for name, module in sys.modules.items()}))
"""
    environment = {"FLYOBJ_ARCHIVE": str(unpacked), "FLYOBJ_ENGINE": "openvino"}
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=image, env=environment, capture_output=True, check=True
    )
    files = {name: file or "" for name, file in json.loads(said.stdout.splitlines()[-1]).items()}
    ours = [file for name, file in files.items() if name.startswith(("model.", "deploy.aws_lambda."))]
    assert len(ours) > 10
    assert all(file.startswith(str(image)) for file in ours)
    others = {"torch", "torchvision", "scipy", "ts", "handler", "serving", "training"}
    assert not others & {name.split(".")[0] for name in files}
