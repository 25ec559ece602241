"""Clients that ask a server without a pause and remember every answer.

Which versions may answer is told while they ask; an answer is right if its version was allowed at any
time between its request and itself.
"""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from model.errors import FlyobjError
from serving.archive.build import MODEL_NAME
from serving.server.client import Client
from serving.server.latency import percentile

_NEW_TOKEN_S = 0.05  # until it is in the file
_TIMEOUT_S = 30.0  # an answer that takes longer counts as none: the client hung


@dataclass(frozen=True)
class AnswerRecord:
    """One request: when it was sent and answered (s, monotonic), and with what.

    `status` is 0 if the connection broke, -1 if nothing came in time.
    """

    sent: float
    answered: float
    status: int
    version: str | None
    pinned: bool

    @property
    def took_s(self) -> float:
        """The time between request and answer."""
        return self.answered - self.sent


@dataclass
class Tally:
    """What became of the requests of a span of time."""

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    longest_s: float = 0.0
    p99_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)


class ContinuousLoad:
    """Clients in threads; use it in a `with`.

    Args:
        client: knows the server and its tokens.
        photo: what is sent.
        users: clients at once.
        allowed: the version that may answer at first.
        version: that they name in the URL; None for the default.
        think_s: between an answer and the next request.
    """

    def __init__(
        self,
        client: Client,
        photo: bytes,
        users: int,
        allowed: str,
        version: str | None = None,
        think_s: float = 0.0,
    ) -> None:
        """Prepare; nothing is sent yet."""
        self._client, self._photo, self._think_s = client, photo, think_s
        self._version = version
        self._path = f"/predictions/{MODEL_NAME}" + (f"/{version}" if version else "")
        self._over = threading.Event()
        self._allowed = [(0.0, frozenset({allowed}))]
        self.answers: list[AnswerRecord] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(users)]

    def __enter__(self) -> "ContinuousLoad":
        """Begin to ask."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the answers that are still out."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def allow(self, *versions: str) -> None:
        """From now on these versions may answer."""
        self._allowed.append((time.monotonic(), frozenset(versions)))

    def tally(self, since: float = 0.0, until: float = float("inf")) -> Tally:
        """Count the requests that were under way between two times."""
        chosen = [a for a in list(self.answers) if a.answered >= since and a.sent <= until]
        times = [a.took_s for a in chosen]
        return Tally(
            requests=len(chosen),
            failed=sum(a.status != 200 for a in chosen),
            wrong=sum(a.status == 200 and a.version not in self._allowed_during(a) for a in chosen),
            longest_s=max(times, default=0.0),
            p99_s=percentile(times, 0.99),
            statuses=Counter(a.status for a in chosen),
        )

    def _allowed_during(self, answer: AnswerRecord) -> frozenset[str]:
        allowed: frozenset[str] = frozenset()
        spans: Sequence[tuple[float, frozenset[str]]] = self._allowed
        for i, (start, versions) in enumerate(spans):
            end = spans[i + 1][0] if i + 1 < len(spans) else float("inf")
            if start <= answer.answered and end >= answer.sent:
                allowed |= versions
        return allowed

    def _ask(self) -> None:
        connection = self._connect()
        while not self._over.is_set():
            sent = time.monotonic()
            try:
                status, version = self._once(connection)
                if status == 400:  # the token was renewed: what a client does that lives for long
                    connection.close()
                    time.sleep(_NEW_TOKEN_S)
                    status, version = self._once(connection)
            except TimeoutError:
                status, version = -1, None
            except (OSError, http.client.HTTPException, FlyobjError):  # no server, or no tokens yet
                status, version = 0, None
            answered = time.monotonic()
            self.answers.append(AnswerRecord(sent, answered, status, version, self._version is not None))
            if status != 200:
                connection.close()  # as TorchServe does after an error
                self._over.wait(0.01)
            if self._think_s:
                self._over.wait(self._think_s)
        connection.close()

    def _once(self, connection: http.client.HTTPConnection) -> tuple[int, str | None]:
        headers = {
            "Authorization": f"Bearer {self._client.token('inference')}",
            "Content-Type": "image/jpeg",
        }
        connection.request("POST", self._path, self._photo, headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            return response.status, None
        answer: dict[str, Any] = json.loads(body)
        return 200, answer["model_version"]

    def _connect(self) -> http.client.HTTPConnection:
        address = self._client.server.inference.removeprefix("http://")
        return http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
