"""The archive elsewhere: deploy/asgi/app.py in an unpacked one, without checkout, Java or PyTorch."""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.archive.isolated import open_archive
from serving.archive.layout import unpack
from serving.stock import ROOT
from tests.helpers.servers import free_ports, wait_until_listening

pytestmark = pytest.mark.slow

APP = ROOT / "deploy" / "asgi" / "app.py"
# No .pth file is read, so the checkout isn't there to be imported.
START = """
import sys
sys.path[:0] = {paths}
sys.modules.update(torch=None, torchvision=None, ts=None)
import uvicorn
uvicorn.run("app:app", port={port}, log_level="error")
"""


@pytest.fixture(scope="module")
def url(archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = unpack(archive_path, tmp_path_factory.mktemp("elsewhere"))
    (folder / "app.py").write_bytes(APP.read_bytes())
    port = free_ports(1)
    start = START.format(paths=[str(folder), sysconfig.get_path("purelib")], port=port)
    command = [sys.executable, "-I", "-S", "-c", start]
    with subprocess.Popen(command, cwd=folder, env={"PATH": os.environ["PATH"]}) as process:
        try:
            wait_until_listening(process, port)
            yield f"http://127.0.0.1:{port}/predictions"
        finally:
            process.terminate()


def test_the_answers_are_the_archives(url: str, archive_path: Path, photos: list[bytes]) -> None:
    with open_archive(archive_path, "openvino") as archive:
        expected = archive.answer(photos)
    for photo, right in zip(photos, expected, strict=True):
        answer = httpx.put(url, content=photo)
        assert answer.status_code == 200
        assert answer.json() == {
            "predicted": right["predicted"],
            "confidence": pytest.approx(right["confidence"], abs=1e-5),
            "probabilities": pytest.approx(right["probabilities"], abs=1e-5),
            "novelty": pytest.approx(right["novelty"], abs=1e-5),
            "model_version": "1.0",
        }


def test_bad_photos_are_refused_in_the_same_words(url: str, photos: list[bytes]) -> None:
    for body, status, kind in (
        (photos[0][:300], 400, "UnreadableImage"),
        (b"words", 415, "UnsupportedFormat"),
        (bytes(20 * 2**20 + 1), 413, "PhotoTooLarge"),
    ):
        answer = httpx.post(url, content=body)
        assert (answer.status_code, answer.json()["type"]) == (status, kind), body[:10]
    assert httpx.get(url).status_code == 405
    assert httpx.post(url, content=photos[0]).status_code == 200


def test_its_requirements_are_pinned() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.M))
    needed = {line for line in APP.with_name("requirements.txt").read_text().splitlines()[1:] if line}
    assert needed
    assert needed <= pinned
