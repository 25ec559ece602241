"""A store, and a management API that answers as TorchServe 0.12 was measured to."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from serving.server.client import Client
from serving.server.remote_server import RemoteServer

MAX_BYTES = 1000  # of a photo, as the handler describes itself
WRONG = "6.6"  # answers its golden photos differently from training


def write_archive(folder: Path, name: str) -> Path:
    """As little of an archive as deploying takes."""
    photo = io.BytesIO()
    Image.new("RGB", (8, 8)).save(photo, "PNG")
    golden = [{"file": "a.png", "label": "a", "probabilities": {"a": 0.9, "b": 0.1}}]
    files = {
        "MAR-INF/MANIFEST.json": json.dumps(
            {"model": {"modelName": "flying_objects", "modelVersion": name}}
        ),
        "model-config.yaml": "minWorkers: 2\n",
        "bundle/golden/golden.json": json.dumps(golden),
        "bundle/golden/a.png": photo.getvalue(),
    }
    path = folder / f"flying_objects-{name}.mar"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path


class Place:
    """A store and the state of its server."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.state = root, root / "store", root / "server.json"

    def make(self) -> None:
        self.store.mkdir(parents=True)
        self.save({"default": None, "versions": {}})

    def load(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.state.read_text())
        return document

    def save(self, state: dict[str, Any]) -> None:
        self.state.write_text(json.dumps(state))

    @contextmanager
    def client(self, step: Callable[[], None] = lambda: None) -> Iterator[Client]:
        def answer(request: httpx.Request) -> httpx.Response:
            step()
            status, document = self.answer(request)
            step()
            return httpx.Response(status, json=document)

        server = RemoteServer("http://127.0.0.1:1", "http://127.0.0.1:2", str(self.store), drained=True)
        with Client(server, httpx.MockTransport(answer)) as client:
            yield client

    def answer(self, request: httpx.Request) -> tuple[int, Any]:
        """Answer as TorchServe does, as far as it is asked here."""
        _, kind, *names = request.url.path.split("/")
        state, query = self.load(), request.url.params
        own = state["versions"]
        if request.method == "POST" and kind == "models":
            name = query["url"].removeprefix("flying_objects-").removesuffix(".mar")
            if name in own:
                return 409, {"message": "registered already"}
            if not (self.store / query["url"]).is_file():
                return 404, {"message": "no such archive"}
            own[name] = {"archive": query["url"], "workers": 2}
            state["default"] = state["default"] or name  # the first of a model
        elif kind == "predictions":
            name = names[1] if len(names) > 1 else state["default"]
            if name not in own:
                return 404, {"message": "no such version"}
            if not own[name]["workers"]:
                return 503, {"message": "no worker"}
            a = 0.1 if name == WRONG else 0.9
            shares = {"a": a, "b": 1 - a}
            predicted = max(shares, key=shares.__getitem__)
            return 200, {"predicted": predicted, "probabilities": shares, "model_version": name}
        elif request.method == "GET":
            which = names[1] if len(names) > 1 else state["default"]
            asked = own if which == "all" else {which} & set(own)
            return (200, [self._describe(n, own[n]) for n in asked]) if asked else (404, {"message": ""})
        elif names[1] not in own:
            return 404, {"message": "no such version"}
        elif names[-1] == "set-default":
            state["default"] = names[1]
        elif request.method == "PUT":
            own[names[1]]["workers"] = int(query["min_worker"])
        elif request.method == "DELETE":
            if names[1] == state["default"] and len(own) > 1:
                return 403, {"message": "can't remove the default version"}
            del own[names[1]]
            state["default"] = state["default"] if own else None
        self.save(state)
        return 200, {"status": "done"}

    @staticmethod
    def _describe(name: str, entry: dict[str, Any]) -> dict[str, Any]:
        workers = [{"id": str(i), "status": "READY", "pid": i + 1} for i in range(entry["workers"])]
        figures = {"minWorkers": entry["workers"], "batchSize": 8, "maxBatchDelay": 5}
        own = {"customizedMetadata": {"classes": ["a", "b"], "limits": {"max_bytes": MAX_BYTES}}}
        return {"modelVersion": name, "modelUrl": entry["archive"], "workers": workers, **figures, **own}
