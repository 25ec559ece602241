"""A worker without a server: the handler on an unpacked archive, asked through TorchServe's own code."""

import base64
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ts.context import Context
from ts.protocol.otf_message_handler import create_predict_response
from ts.service import Service

from handler.flyobj_handler import FlyingObjectsHandler
from model.answers import as_probabilities
from model.bundle import read_bundle
from model.predictor import Predictor

Request = dict[str, Any]  # as the front end sends it to a worker


class Requests:
    """One request each, as TorchServe's front end passes it on."""

    @staticmethod
    def raw(body: object) -> Request:
        return {"parameters": [{"name": "body", "contentType": "image/jpeg", "value": body}]}

    @staticmethod
    def form(**files: bytes) -> Request:
        kind = "application/octet-stream"
        return {
            "headers": [{"name": b"content-type", "value": b"multipart/form-data; boundary=x"}],
            "parameters": [{"name": n, "contentType": kind, "value": v} for n, v in files.items()],
        }

    @staticmethod
    def json(document: object) -> Request:
        body = json.dumps(document).encode()
        return {
            "headers": [{"name": b"Content-Type", "value": b"application/json"}],
            "parameters": [{"name": "body", "contentType": "application/json", "value": body}],
        }

    @classmethod
    def explain(cls, photo: bytes) -> Request:
        return {"headers": [{"name": b"explain", "value": b"True"}], **cls.raw(photo)}

    @staticmethod
    def describe() -> Request:
        return {"headers": [{"name": b"describe", "value": b"True"}], "parameters": []}

    @staticmethod
    def b64(photo: bytes) -> str:
        return base64.b64encode(photo).decode()


class Worker:
    """The handler on an unpacked archive; `settings` go into the section `handler` of its settings."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._folder, self._settings = folder, settings
        self.handler = FlyingObjectsHandler()
        self.handler.initialize(self._context())

    def ask(self, requests: list[Request]) -> list[tuple[int, Any]]:
        """Ask a batch: [(status, answer), ...]."""
        context = self._context()
        processors, rows, ids = Service.retrieve_data_for_inference(
            [{"requestId": str(i).encode(), **request} for i, request in enumerate(requests)]
        )
        context.request_processor, context.request_ids = processors, ids
        answers = self.handler.handle(rows, context)
        assert len(answers) == len(requests)
        create_predict_response(answers, ids, "", 200, context=context)  # what is sent to the server
        self.headers = [context.get_response_headers(i) for i in range(len(rows))]
        statuses = [context.get_response_status(i)[0] for i in range(len(rows))]
        types = {context.get_response_content_type(i) for i in range(len(rows))}
        assert types == {"application/json"}
        return list(zip(statuses, json.loads(json.dumps(answers)), strict=True))

    def _context(self) -> Context:
        manifest = json.loads((self._folder / "MAR-INF" / "MANIFEST.json").read_text())
        config = yaml.safe_load((self._folder / "model-config.yaml").read_text())
        config["handler"] |= self._settings
        place = (str(self._folder), manifest, 8, None, "0.12")
        return Context("flying_objects", *place, model_yaml_config=config)


@pytest.fixture(scope="session")
def unpacked(torch_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's content. Read only: copy it to change it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(torch_archive) as files:
        files.extractall(folder)
    return folder


@pytest.fixture
def start_worker() -> type[Worker]:
    """Start a worker: `start_worker(folder, **settings)`."""
    return Worker


@pytest.fixture
def worker(unpacked: Path) -> Worker:
    """A worker as the archive has it; a test may spoil its handler."""
    return Worker(unpacked)


@pytest.fixture
def requests() -> type[Requests]:
    """Make requests: `requests.raw(photo)`, `requests.form(left=photo)`, ..."""
    return Requests


@pytest.fixture(scope="session")
def expected(run: Path, photos: list[bytes]) -> list[dict[str, float]]:
    """What the bundle alone answers to each of `photos`."""
    predictor = Predictor(read_bundle(run / "bundle"))
    rows = [predictor.predict([predictor.prepare(photo)])[0] for photo in photos]
    return [as_probabilities(predictor.classes, row) for row in rows]


@pytest.fixture
def assert_right(expected: list[dict[str, float]]) -> Callable[[Any, int], None]:
    """Compare an answer with what `photos[number]` has to get."""

    def check(answer: Any, number: int) -> None:
        assert answer["probabilities"] == pytest.approx(expected[number], abs=1e-5)
        assert answer["predicted"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert answer["confidence"] == max(answer["probabilities"].values())
        assert answer["model_version"] == "9.0"

    return check
