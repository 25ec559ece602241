"""The Lambda function, run as its image runs it."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.lambda_runtime import Function, start_function

ROOT = Path(__file__).resolve().parents[2]
StartFunction = Callable[..., Function]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Dockerfile copies of the repository, and nothing else of it."""
    folder = tmp_path_factory.mktemp("image")
    shutil.copytree(ROOT / "model", folder / "model", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "deploy" / "aws_lambda").mkdir(parents=True)
    for path in (ROOT / "deploy" / "aws_lambda").glob("*.py"):
        shutil.copy(path, folder / "deploy" / "aws_lambda")
    return folder


@pytest.fixture(scope="session")
def unpacked(archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as the image has it. Read only: copy it to change it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(archive_path) as files:
        files.extractall(folder)
    return folder


@pytest.fixture(scope="session")
def start(image: Path) -> Iterator[StartFunction]:
    """Start the function: `start(archive, NAME=VALUE)`; it runs to the end of the session."""
    with ExitStack() as stack:

        def run(archive: object, **more: str) -> Function:
            keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
            own = {"FLYOBJ_ARCHIVE": str(archive), "FLYOBJ_ENGINE": "openvino", "OMP_NUM_THREADS": "1"}
            return stack.enter_context(start_function(image, {**keep, **own, **more}))

        yield run


@pytest.fixture(scope="session")
def function(start: StartFunction, unpacked: Path) -> Function:
    """The function with the archive in its image."""
    return start(unpacked)


@pytest.fixture(scope="session")
def ask(function: Function) -> Callable[[object], tuple[int, Any]]:
    """Give the function an event: `status, answer = ask(event)`."""

    def send(event: object) -> tuple[int, Any]:
        response = function.invoke(event)
        assert set(response) == {"statusCode", "headers", "body", "isBase64Encoded"}
        assert response["headers"] == {"Content-Type": "application/json"}
        assert response["isBase64Encoded"] is False
        return response["statusCode"], json.loads(response["body"])

    return send
