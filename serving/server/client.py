"""Talking to a TorchServe over HTTP, with its tokens.

TorchServe writes three tokens to `key_file.json`: one for inference, one for management, and one
that only renews the other two. They run out after an hour; this client renews them before that.
A renewed token replaces the one before at once, for everybody, and a moment later in the file. So a call
that is refused because of its token is made once more with the token that the file then has.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx

from model.errors import FlyobjError, InputError, PhotoError
from model.files import read_json
from serving.archive.build import MODEL_NAME
from serving.server.lifecycle import Server
from serving.server.remote_server import RemoteServer

TIMEOUT_S = 60.0
_RENEW_BEFORE = timedelta(minutes=5)
_NEW_TOKEN_S = 1.0  # until a renewed token is in the file
_POLL_S = 0.02

Kind = Literal["inference", "management"]


class ServerError(FlyobjError):
    """The server refused a call. `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the status beside the message."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class TimedAnswer:
    """An answer and what it took.

    Attributes:
        answer: what the handler says.
        took_ms: from sending the photo to having the answer.
        worker_ms: the worker's part of it by step (`decode`, `inference`), of the whole batch that the
            photo was in; empty for an archive of before workers said it.
    """

    answer: dict[str, Any]
    took_ms: float
    worker_ms: Mapping[str, float]


class Client:
    """A connection to one server; close it, or use it in a `with`."""

    KINDS: tuple[Kind, ...] = ("inference", "management")

    def __init__(
        self,
        server: Server | RemoteServer,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Talk to `server`; another `transport` can be given, and how long an answer may take."""
        self.server = server
        self._http = httpx.Client(timeout=timeout_s, transport=transport)

    def __enter__(self) -> "Client":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._http.close()

    @property
    def logs(self) -> str:
        """Where to read what went wrong."""
        return "its logs" if self.server.home is None else f"{self.server.home}/logs"

    def predict(self, photo: bytes, version: str | None = None) -> dict[str, Any]:
        """Answer one photo with the default or the named version; raises `PhotoError` for a 4xx."""
        return self.ask(photo, version).answer

    def ask(self, photo: bytes, version: str | None = None, explain: bool = False) -> TimedAnswer:
        """Answer one photo, with the times; `explain` adds where the network looked.

        Raises:
            PhotoError: the photo can't be answered.
            InputError: there is no such version.
            FlyobjError: the server refuses the call or isn't there.
        """
        kind = "explanations" if explain else "predictions"
        path = f"/{kind}/{MODEL_NAME}" + (f"/{version}" if version else "")
        started = time.perf_counter()
        try:
            response = self._call("POST", self.server.inference, path, "inference", content=photo)
        except ServerError as error:
            if error.status == 404:
                raise InputError(f"{error}; `flyobj models list` shows what is deployed") from error
            if 400 <= error.status < 500 and error.status not in (401, 403, 405):
                raise PhotoError(str(error)) from error
            raise
        took_ms = 1000 * (time.perf_counter() - started)
        return TimedAnswer(response.json(), took_ms, _steps(response.headers.get("server-timing", "")))

    def versions(self) -> dict[str, dict[str, Any]]:
        """Describe every registered version, by its name."""
        return {entry["modelVersion"]: entry for entry in self._describe("/all")}

    def describe(self, version: str) -> dict[str, Any]:
        """Ask a version's model what it says of itself."""
        path = f"/models/{MODEL_NAME}/{version}"
        query = {"customized": "true"}
        response = self._call("GET", self.server.management, path, "management", params=query)
        (entry,) = response.json()
        described: dict[str, Any] = entry["customizedMetadata"]
        return described

    def default_version(self) -> str | None:
        """Name the version that answers requests which name none; None if nothing is registered."""
        return next((str(entry["modelVersion"]) for entry in self._describe("")), None)

    def register(self, archive: str) -> None:
        """Register `archive` of the model store and return at once; its workers start after that."""
        query = {"url": archive, "model_name": MODEL_NAME, "synchronous": "false"}
        self._call("POST", self.server.management, "/models", "management", params=query)

    def unregister(self, version: str) -> None:
        """Remove a version and its workers."""
        self._call("DELETE", self.server.management, f"/models/{MODEL_NAME}/{version}", "management")

    def scale(self, version: str, workers: int) -> None:
        """Start or kill workers until there are so many; those that start aren't waited for."""
        query = {"min_worker": workers, "max_worker": workers, "synchronous": "false"}
        path = f"/models/{MODEL_NAME}/{version}"
        self._call("PUT", self.server.management, path, "management", params=query)

    def set_default(self, version: str) -> None:
        """Let requests that name no version go to this one."""
        path = f"/models/{MODEL_NAME}/{version}/set-default"
        self._call("PUT", self.server.management, path, "management")

    def batch_sizes(self) -> dict[int, int]:
        """Count the batches that were formed since the server's start, by their size."""
        response = self._call("GET", self.server.metrics, "/metrics", "management")
        sizes: dict[int, int] = {}
        for line in response.text.splitlines():
            if found := re.match(r'flyobj_batches\{.*batch_size="(\d+)".*\} ([\d.eE+]+)', line):
                size = int(found[1])
                sizes[size] = sizes.get(size, 0) + int(float(found[2]))
        return dict(sorted(sizes.items()))

    def keep_tokens(self) -> None:
        """Renew tokens that run out within minutes; called each minute, there is always a good one."""
        for kind in self.KINDS:
            self.token(kind)

    def token(self, kind: Kind) -> str:
        """Read a token, renewed if it runs out within minutes; empty where no call needs one."""
        if self.server.key_file is None:
            return ""
        if self.token_lasts_s(kind) < _RENEW_BEFORE.total_seconds():
            self.renew(kind)
        key: str = self._keys()[kind]["key"]
        return key

    def token_lasts_s(self, kind: Kind) -> float:
        """Say for how many seconds a token is good; negative if it ran out."""
        expires = self._keys()[kind]["expiration time"].replace("Z", "+00:00")
        return (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()

    def software(self) -> str:
        """Name the server's version of TorchServe."""
        response = self._call("OPTIONS", self.server.inference, "/", "inference")
        try:
            return str(response.json()["info"]["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.server.inference} is no TorchServe; give another address"
            ) from error

    def renew(self, kind: Kind) -> None:
        """Let TorchServe replace a token; the one before isn't accepted any more."""
        keys = self._keys()
        self._send("GET", self.server.management, "/token", keys["API"]["key"], params={"type": kind})

    def _describe(self, which: str) -> list[dict[str, Any]]:
        path = f"/models/{MODEL_NAME}{which}"
        try:
            entries: list[dict[str, Any]] = self._call(
                "GET", self.server.management, path, "management"
            ).json()
        except ServerError as error:
            if error.status == 404:
                return []
            raise
        return entries

    def _keys(self) -> Any:
        path = self.server.key_file or Path()
        until = time.monotonic() + _NEW_TOKEN_S
        while True:
            try:
                return read_json(path)
            except InputError as error:  # TorchServe may be writing it
                if not path.exists() or time.monotonic() > until:
                    raise FlyobjError(f"the server's tokens can't be read: {error}") from error
            time.sleep(_POLL_S)

    def _call(self, method: str, base: str, path: str, kind: Kind, **more: Any) -> httpx.Response:
        key = self.token(kind)
        response = self._send(method, base, path, key, **more)
        if _is_token_refused(response):
            until = time.monotonic() + _NEW_TOKEN_S
            while (new := self.token(kind)) == key and time.monotonic() < until:
                time.sleep(_POLL_S)
            response = self._send(method, base, path, new, **more)
        if response.status_code >= 400:
            raise ServerError(response.status_code, _message(response))
        return response

    def _send(self, method: str, base: str, path: str, key: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            response = self._http.request(method, base + path, headers=headers, **more)
        except httpx.TransportError as error:
            raise FlyobjError(
                f"the server at {base} doesn't answer ({type(error).__name__}); see {self.logs}"
            ) from error
        return response


def _is_token_refused(response: httpx.Response) -> bool:
    return response.status_code == 400 and '"InvalidKeyException"' in response.text


def _steps(header: str) -> dict[str, float]:
    """Read the durations, ms, of a `Server-Timing` header."""
    return {name: float(ms) for name, ms in re.findall(r"([\w-]+);dur=([\d.]+)", header)}


def _message(response: httpx.Response) -> str:
    """Take the message out of the handler's or TorchServe's error."""
    try:
        answer = response.json()
        return f"{answer['message']} (HTTP {response.status_code})"
    except (ValueError, KeyError, TypeError):
        text = response.text.strip()[:200]
        return f"HTTP {response.status_code} {response.reason_phrase} {text}".strip()
