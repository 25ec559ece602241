"""What the page asks the server, which may go away and come back while the page stays.

The server of a home is looked up for each question, so one that was restarted, even on another port,
is found again by itself.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.errors import FlyobjError, InputError, PhotoError
from model.golden import Golden
from model.pictures import Heatmap
from serving.archive.build import read_golden_photos
from serving.rollout.store import how_to_deploy
from serving.server.client import Client, ServerError
from serving.server.homes import command
from serving.server.lifecycle import find
from serving.server.versions import Version, list_versions

_DEFAULT = "default"  # whichever version answers at an address
_TIMEOUT_S = 30.0  # a server whose workers load the network for a first explanation may need seconds


_TOO_LARGE = "the file is larger than the server takes (max_request_size, 21 MiB); send a smaller one"


@dataclass(frozen=True)
class State:
    """What can be asked."""

    versions: tuple[str, ...] = ()  # that have a worker which is ready
    default: str | None = None  # the version among them that answers requests which name none, or None
    problem: str | None = None  # why no photo can be answered; None if one can

    @property
    def first(self) -> str | None:
        """The version to begin with: the default, or the newest; None if there is none."""
        return self.default or next(reversed(self.versions), None)


@dataclass(frozen=True)
class Answer:
    """What a version says of a photo."""

    version: str  # that was asked
    predicted: str  # a class, or "unknown"
    probabilities: Sequence[tuple[str, float]]  # of the classes, the most probable first
    took_ms: float  # from sending the photo to having the answer
    worker_ms: Mapping[str, float]  # the worker's part of it by step; empty if the archive doesn't say
    novelty: float | None = None  # share of known photos that look at least as strange, if it says so


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    version: str | None  # that was asked; None for the default
    message: str  # what is wrong and what to do about it
    of_photo: bool  # whether another photo might be answered; otherwise the server is the reason


class Backend:
    """The server of one home, or of an address, asked by any number of visitors at a time."""

    def __init__(self, home: Path, remote: Client | None = None, version: str | None = None) -> None:
        """Look for a server with this home; there may be none yet.

        With `remote`, ask that one instead, for its default or one `version`: an address doesn't say
        which there are.
        """
        self._home, self._remote, self._named = home, remote, version
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._client: Client | None = None
        self._golden: dict[Path, tuple[Golden, ...]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._open.close()

    def state(self) -> State:
        """Say what can be asked now."""
        try:
            if self._remote:
                self._remote.require_model(self._named)
                return State((self._named or _DEFAULT,))
            client = self._connect()
            versions = list_versions(client)
        except FlyobjError as error:
            return State(problem=str(error))
        ready = tuple(v.version for v in versions if v.ready)
        default = next((v.version for v in versions if v.default and v.ready), None)
        return State(ready, default, None if ready else _why_none_is_ready(client, versions))

    def ask(self, photo: bytes, version: str | None) -> Answer | Failure:
        """Let a version, or the default, answer a photo."""
        try:
            timed = self._connect().ask(photo, None if version == _DEFAULT else version)
        except PhotoError as error:
            too_large = str(error).startswith("HTTP 413")  # refused on its way, without a word
            return Failure(version, _TOO_LARGE if too_large else str(error), of_photo=True)
        except FlyobjError as error:
            return Failure(version, _advice(error), of_photo=False)
        ranked = sorted(timed.answer["probabilities"].items(), key=lambda item: -item[1])
        named, predicted = timed.answer["model_version"], timed.answer["predicted"]
        novelty = timed.answer.get("novelty")
        return Answer(named, predicted, ranked, timed.took_ms, timed.worker_ms, novelty)

    def heatmap(self, photo: bytes, version: str) -> Heatmap | None:
        """Ask where the version looked; None if it can't say."""
        try:
            explained = self._connect().ask(photo, version, explain=True).answer
        except FlyobjError:
            return None
        return np.asarray(explained["explanation"]["heatmap"], np.float32)

    def examples(self, version: str | None) -> tuple[Golden, ...]:
        """Read the golden photos of a version's archive; none if it isn't there, or none of ours."""
        if self._remote:
            return ()
        try:
            client = self._connect()
            found = next((v for v in list_versions(client) if v.version == version), None)
        except FlyobjError:
            return ()
        if found is None:
            return ()
        path = client.store / found.archive
        if path not in self._golden:
            try:
                self._golden[path] = read_golden_photos(path)
            except InputError:
                self._golden[path] = ()
        return self._golden[path]

    def _connect(self) -> Client:
        """Return a connection to the server that runs now; raises `FlyobjError` if none does."""
        if self._remote:
            return self._remote
        server = find(self._home)
        if server is None:
            raise FlyobjError(
                f"No server runs with home {str(self._home)!r}. Start one with "
                f"`{command('serve --detach', home=self._home)}`"
            )
        with self._lock:
            if self._client is None or self._client.server != server:
                # The one before stays open until the end: a request may still wait on it.
                self._client = self._open.enter_context(Client(server, timeout_s=_TIMEOUT_S))
            return self._client


def _why_none_is_ready(client: Client, versions: Sequence[Version]) -> str:
    if not versions:
        return f"The server has no model yet. Deploy one with `{how_to_deploy(client)}`"
    return f"No worker of version {', '.join(v.version for v in versions)} is ready yet"


def _advice(error: FlyobjError) -> str:
    if isinstance(error, ServerError) and error.status == 503:
        return f"The server is too busy, or the version's workers aren't ready: {error}"
    return str(error)
