"""Talking to a TorchServe: photos to its model, and its versions.

The model's name is that of the server's deployment. A call that is refused because its token was just
replaced is made once more with the new one.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from model.errors import FlyobjError, InputError, PhotoError
from model.files import read_json
from serving.names import DEFAULT_MODEL, DEPLOYMENT
from serving.server.connection import Connection, NoAnswer, authorization
from serving.server.homes import command
from serving.server.lifecycle import Server
from serving.server.remote_server import RemoteServer
from serving.server.tokens import Kind, Tokens, is_refused

TIMEOUT_S = 60.0
_NOT_OF_THE_PHOTO = (401, 403, 405, 408, 421, 429)  # statuses below 500
_PATIENCE_S = 30.0  # with a gate that lets a key ask only so often


class ServerError(FlyobjError):
    """The server refused a call. `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the status beside the message."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class TimedAnswer:
    """What the handler says, and the time from sending the photo to having that.

    `worker_ms` is the worker's part of it by step (`decode`, `inference`), of the whole batch that the
    photo was in; empty for an older archive, whose workers don't say.
    """

    answer: dict[str, Any]
    took_ms: float
    worker_ms: Mapping[str, float]


class Client:
    """A connection to one server; close it, or use it in a `with`."""

    def __init__(
        self,
        server: Server | RemoteServer,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = TIMEOUT_S,
        token: str = "",
        ca_file: Path | None = None,
    ) -> None:
        """Talk to `server`.

        Args:
            server: of a home, or of an address.
            transport: stands in for httpx's own.
            timeout_s: for an answer.
            token: in place of the server's own.
            ca_file: whose certificates to trust, of an address with https.
        """
        self.server = server
        self._connection = Connection(timeout_s, transport, ca_file)
        keys = server.key_file, server.management
        self.tokens = Tokens(*keys, self._connection, token, server.require_running)
        self._model: str | None = None

    def __enter__(self) -> "Client":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._connection.close()

    @property
    def store(self) -> Path:
        """The model store that the server reads."""
        return Path(self.server.model_store)

    @property
    def model(self) -> str:
        """Name of the model in URLs: the deployment's; the default one before anything is deployed."""
        path = self.store / DEPLOYMENT
        if self._model is None and self.server.model_store and path.exists():
            name = read_json(path).get("model", DEFAULT_MODEL)
            self._model = name if isinstance(name, str) else DEFAULT_MODEL  # read_deployment tells
        return self._model or DEFAULT_MODEL

    @model.setter
    def model(self, name: str) -> None:
        self._model = name

    @property
    def logs(self) -> str:
        """Where to read what went wrong."""
        return "its logs" if self.server.home is None else f"{self.server.home}/logs"

    def command(self, words: str, *arguments: Path | str) -> str:
        """Write a command for this server that can be pasted."""
        return command(words, *arguments, home=self.server.home)

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
        started = time.perf_counter()
        try:
            response = _require_success(self.post(photo, version, explain))
        except ServerError as error:
            if error.status == 404:
                see = self.command("models list")
                raise InputError(f"{error}; `{see}` shows what is deployed") from error
            if 400 <= error.status < 500 and error.status not in _NOT_OF_THE_PHOTO:
                raise PhotoError(str(error)) from error
            raise
        took_ms = 1000 * (time.perf_counter() - started)
        steps = re.findall(r"([\w-]+);dur=([\d.]+)", response.headers.get("server-timing", ""))
        return TimedAnswer(_document(response), took_ms, {name: float(ms) for name, ms in steps})

    def post(self, photo: bytes, version: str | None = None, explain: bool = False) -> httpx.Response:
        """Send one photo and return the answer whatever its status; raises `NoAnswer`."""
        path, until = self.path(version, explain), time.monotonic() + _PATIENCE_S
        while True:
            response = self._send("POST", self.server.inference, path, "inference", content=photo)
            asked = response.headers.get("Retry-After", "")  # seconds, or a date
            pause_s = int(asked) if asked.isdecimal() else 1
            if response.status_code != 429 or time.monotonic() + pause_s > until:
                return response
            time.sleep(pause_s)

    def path(self, version: str | None = None, explain: bool = False) -> str:
        """Return the path that photos go to, of the default or the named version."""
        kind = "explanations" if explain else "predictions"
        return path_of(kind, self.model, *([version] if version is not None else []))

    def require_model(self, version: str | None = None) -> None:
        """Raise `FlyobjError` unless the server knows the model; no worker is asked for that."""
        self._call("OPTIONS", self.server.inference, self.path(version), "inference")

    def headers(self, kind: Kind = "inference") -> dict[str, str]:
        """Return the header that lets somebody else's request in."""
        return authorization(self.tokens.get(kind))

    def versions(self) -> dict[str, dict[str, Any]]:
        """Describe every registered version, by its name."""
        return {entry["modelVersion"]: entry for entry in self._describe("all")}

    def describe(self, version: str) -> dict[str, Any]:
        """Ask a version's model what it says of itself."""
        (entry,) = _document(self._manage("GET", version, customized="true"))
        described: dict[str, Any] = entry["customizedMetadata"]
        return described

    def default_version(self) -> str | None:
        """Name the version that answers requests which name none; None if nothing is registered."""
        return next((str(entry["modelVersion"]) for entry in self._describe()), None)

    def register(self, archive: str) -> None:
        """Register `archive` of the model store and return at once; its workers start after that."""
        query = {"url": archive, "model_name": self.model, "synchronous": "false"}
        self._call("POST", self.server.management, "/models", "management", params=query)

    def unregister(self, version: str) -> None:
        """Remove a version and its workers."""
        self._manage("DELETE", version)

    def scale(self, version: str, workers: int) -> None:
        """Start or kill workers until there are this many; those that start aren't waited for."""
        self._manage("PUT", version, min_worker=workers, max_worker=workers, synchronous="false")

    def set_default(self, version: str) -> None:
        """Let requests that name no version go to this one."""
        self._manage("PUT", version, "set-default")

    def batch_sizes(self) -> dict[int, int]:
        """Count the batches that were formed since the server's start, by their size."""
        response = self._call("GET", self.server.metrics, "/metrics", "management")
        sizes: dict[int, int] = {}
        for line in response.text.splitlines():
            if found := re.match(r'flyobj_batches\{.*batch_size="(\d+)".*\} ([\d.eE+]+)', line):
                size = int(found[1])
                sizes[size] = sizes.get(size, 0) + int(float(found[2]))
        return dict(sorted(sizes.items()))

    def software(self) -> str:
        """Name the server's version of TorchServe."""
        response = self._call("OPTIONS", self.server.inference, "/", "inference")
        try:
            return str(response.json()["info"]["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.server.inference} isn't a TorchServe server; give another address"
            ) from error

    def _describe(self, *which: str) -> list[dict[str, Any]]:
        try:
            entries: list[dict[str, Any]] = _document(self._manage("GET", *which))
        except ServerError as error:
            if error.status == 404:
                return []
            raise
        return entries

    def _manage(self, method: str, *which: str, **query: Any) -> httpx.Response:
        """Call the management API for the model, or what `which` names of it."""
        path = path_of("models", self.model, *which)
        return self._call(method, self.server.management, path, "management", params=query)

    def _call(self, method: str, base: str, path: str, kind: Kind, **more: Any) -> httpx.Response:
        return _require_success(self._send(method, base, path, kind, **more))

    def _send(self, method: str, base: str, path: str, kind: Kind, **more: Any) -> httpx.Response:
        try:
            token = self.tokens.get(kind)
            response = self._connection.call(method, base + path, token, **more)
            if is_refused(response):
                token = self.tokens.replacement(token, kind)
                response = self._connection.call(method, base + path, token, **more)
        except NoAnswer as error:
            raise NoAnswer(f"{error}; see {self.logs}", error.timed_out) from error
        return response


def path_of(*segments: str) -> str:
    """Put a path together; a segment stays one whatever is in it (`2.0#` doesn't name `2.0`).

    Raises:
        InputError: a segment is empty or dots, which no path can name.
    """
    if bad := [segment for segment in segments if segment in ("", ".", "..") or "/" in segment]:
        raise InputError(f"{bad[0]!r} can't be a model's name or version")
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def _require_success(response: httpx.Response) -> httpx.Response:
    """Return an answer that is no error; raises `ServerError` with the server's own words."""
    status = response.status_code
    if response.is_success:
        return response
    if response.has_redirect_location:
        raise ServerError(status, f"HTTP {status}: it sends us on to another address; give that one")
    try:
        message = f"{response.json()['message']} (HTTP {status})"
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {status} {response.reason_phrase} {response.text.strip()[:200]}".strip()
    raise ServerError(status, message)


def _document(response: httpx.Response) -> Any:
    """Read an answer's JSON; raises `ServerError` where there is none."""
    try:
        return response.json()
    except ValueError as error:
        address = f"{response.url.scheme}://{response.url.netloc.decode()}"
        raise ServerError(response.status_code, f"{address} isn't a TorchServe ({error})") from error
