"""Explanations, descriptions and metrics as a real TorchServe passes them on."""

import base64
import io
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from model.formats import FORMATS
from model.golden import TOLERANCE
from serving.archive.build import read_archive
from serving.rollout.deployment import DeployedVersion
from serving.rollout.readiness import bring_up

if TYPE_CHECKING:
    from tests.conftest import Home


@pytest.fixture(scope="module")
def url(server: "Home") -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def describe(server: "Home") -> Callable[[], Any]:
    def describe() -> Any:
        with server.client() as client:
            headers = {"Authorization": f"Bearer {client.tokens.get('management')}"}
        address = f"http://127.0.0.1:{server.port + 1}/models/flying_objects/1.0"
        response = httpx.get(address, params={"customized": "true"}, headers=headers, timeout=60)
        return response.json()[0]["customizedMetadata"]

    return describe


def test_each_gets_what_it_asked_for(
    server: "Home", url: str, photos: list[bytes], describe: Callable[[], Any]
) -> None:
    """Predictions, explanations, bad photos and descriptions at once, so that they share batches."""
    headers = server.headers()
    kinds = ["predictions", "explanations", "bad", "describe"] * 10

    def ask(kind: str) -> Any:
        if kind == "describe":
            return describe()
        path = "explanations" if kind == "explanations" else "predictions"
        content = b"words" if kind == "bad" else photos[0]
        response = httpx.post(
            f"{url}/{path}/flying_objects", content=content, headers=headers, timeout=60
        )
        return response.json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, kinds))
    for kind, answer in zip(kinds, answers, strict=True):
        assert ("explanation" in answer) == (kind == "explanations")
        assert ("predicted" in answer) == (kind in ("predictions", "explanations"))
        assert ("formats" in answer) == (kind == "describe")
        assert (answer.get("type") == "UnsupportedFormat") == (kind == "bad")


def test_an_explanation_as_v1_and_as_a_picture(server: "Home", url: str, photos: list[bytes]) -> None:
    instances = {"instances": [{"b64": base64.b64encode(photos[0]).decode()}]}
    address = f"{url}/v1/models/flying_objects:explain"
    (answer,) = httpx.post(address, json=instances, headers=server.headers(), timeout=60).json()[
        "predictions"
    ]
    shown = answer["explanation"]
    assert shown["class"] == answer["predicted"]
    assert max(map(max, shown["heatmap"])) in (0.0, 1.0)
    assert Image.open(io.BytesIO(base64.b64decode(shown["overlay_png"]))).size == (64, 64)


def test_a_description_from_the_management_port(describe: Callable[[], Any]) -> None:
    described = describe()
    assert described["formats"] == list(FORMATS)
    assert described["limits"]["max_pixels"] == 50_000_000
    assert len(described["data_fingerprint"]) == 64


def test_nobody_else_can_pass_for_the_management_port(
    server: "Home", url: str, photos: list[bytes]
) -> None:
    headers = {**server.headers(), "describe": "True", "explain": "True"}
    answer = httpx.post(
        f"{url}/predictions/flying_objects", content=photos[0], headers=headers, timeout=60
    ).json()
    assert "predicted" in answer
    assert "explanation" not in answer


@pytest.mark.parametrize(
    ("path", "more"),
    [("/predictions/flying_objects", {"X-Top-K": "1"}), ("/models/flying_objects/invoke?top_k=1", {})],
)
def test_top_k_beside_a_raw_body(
    server: "Home", url: str, photos: list[bytes], path: str, more: dict[str, str]
) -> None:
    answer = httpx.post(
        f"{url}{path}", content=photos[0], headers={**server.headers(), **more}, timeout=60
    ).json()
    assert list(answer["probabilities"]) == [answer["predicted"]]


def test_metrics_carry_the_models_version(server: "Home", url: str, photos: list[bytes]) -> None:
    headers = server.headers()
    for content in (photos[0], b"words"):
        httpx.post(f"{url}/predictions/flying_objects", content=content, headers=headers, timeout=60)
    with server.client() as client:
        management = {"Authorization": f"Bearer {client.tokens.get('management')}"}
    text = httpx.get(f"http://127.0.0.1:{server.port + 2}/metrics", headers=management, timeout=60).text
    for name in ("decode", "inference", "handler"):
        pattern = rf'flyobj_{name}_seconds_bucket\{{[^}}]*model_version="1.0"[^}}]*le="0.1"'
        assert re.search(pattern, text), name
    assert re.search(r'flyobj_confidence_count\{[^}]*model_version="1.0"', text)
    assert re.search(r'flyobj_photos\{[^}]*format="JPEG"[^}]*\} [1-9]', text)
    assert re.search(r'flyobj_errors\{[^}]*type="UnsupportedFormat"[^}]*\} [1-9]', text)
    assert re.search(r'flyobj_predictions\{[^}]*class="[^"]+"[^}]*\} [1-9]', text)


@pytest.mark.parametrize("path", ["predictions", "explanations"])
def test_the_workers_time_is_in_a_header(
    server: "Home", url: str, photos: list[bytes], path: str
) -> None:
    for content in (photos[0], b"words"):
        response = httpx.post(
            f"{url}/{path}/flying_objects", content=content, headers=server.headers(), timeout=60
        )
        steps = re.fullmatch(
            r"decode;dur=([\d.]+), inference;dur=([\d.]+)", response.headers["Server-Timing"]
        )
        assert steps
        worker_ms = float(steps[1]) + float(steps[2])
        assert 0 < worker_ms < 1000 * response.elapsed.total_seconds()


def test_pytorch_serves(server: "Home", torch_archive: Path, photos: list[bytes]) -> None:
    copied = Path(shutil.copy(torch_archive, server.store))
    archive = read_archive(copied)
    with server.client() as client:
        try:
            bring_up(client, archive, DeployedVersion(copied.name, archive.sha256, workers=1))
            reference = [client.predict(photo) for photo in photos]
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda photo: client.predict(photo, "9.0"), photos))
            headers = {"Authorization": f"Bearer {client.tokens.get('management')}"}
            address = f"http://127.0.0.1:{server.port + 1}/models/flying_objects/9.0?customized=true"
            described = httpx.get(address, headers=headers, timeout=60).json()
        finally:
            client.unregister("9.0")
            copied.unlink()
    assert described[0]["customizedMetadata"]["engine"].startswith("PyTorch")
    for answer, expected in zip(answers, reference, strict=True):
        assert answer["model_version"] == "9.0"
        assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=TOLERANCE)
