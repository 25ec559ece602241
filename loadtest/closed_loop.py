"""A closed loop: each client sends its next photo when it has the answer to the last one.

Clients are threads of this process on `http.client`, each with one connection, about 0.3 ms of CPU a
request, which isn't counted but shares the server's cores. Latencies of a closed loop are those of a
server that is asked less when it is slow; how many clients it sustains within a limit is the open loop's
question (`loadtest.capacity`).
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from loadtest.background import Background
from model.errors import FlyobjError
from model.golden import TOLERANCE
from serving.server.client import Client
from serving.server.latency import percentile

TIMEOUT_S = 120.0
_NEW_TOKEN_S = 0.05  # until a renewed token is in the file
_PAUSE_S = 0.02  # a server that is gone must not be asked in a tight loop


@dataclass(frozen=True)
class Endpoint:
    """Where a server on this machine takes photos, and how it wants them.

    Attributes:
        port: of 127.0.0.1.
        path: of the address.
        encode: makes a photo the request's body.
        headers: read once by each client, and again when the server refuses its token.
        timeout_s: after which an answer counts as none.
    """

    port: int
    path: str
    encode: Callable[[bytes], bytes] = bytes
    headers: Callable[[], Mapping[str, str]] = dict
    timeout_s: float = TIMEOUT_S

    def connect(self) -> HTTPConnection:
        """Make a connection; the first request opens it."""
        return HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)

    def ask(
        self, connection: HTTPConnection, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Send an encoded photo; returns status and content."""
        connection.request("POST", self.path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()


def endpoint_of(client: Client, version: str | None = None, timeout_s: float = TIMEOUT_S) -> Endpoint:
    """Return where a TorchServe of ours takes photos for a version, or for its default."""

    def headers() -> dict[str, str]:
        return client.headers() | {"Content-Type": "image/jpeg"}

    port = urlsplit(client.server.inference).port or 0
    return Endpoint(port, client.path(version), headers=headers, timeout_s=timeout_s)


@dataclass(frozen=True)
class AnswerRecord:
    """One request: when it was sent and answered, s of the monotonic clock, and with what.

    Attributes:
        sent: before the request.
        answered: when the answer was there, or none was to come.
        status: of HTTP; 0 if the connection broke, -1 if nothing came in time.
        note: what the loop's reader made of the content; what went wrong unless `status` is 200.
    """

    sent: float
    answered: float
    status: int
    note: str | None

    @property
    def took_s(self) -> float:
        """The time between request and answer."""
        return self.answered - self.sent


class ClosedLoop(Background):
    """Clients that ask from the start of a `with` to its end; `answers` grows meanwhile."""

    def __init__(
        self,
        endpoint: Endpoint,
        requests: Sequence[tuple[bytes, Callable[[bytes], str | None]]],
        clients: int,
        think_s: float = 0.0,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            endpoint: of the server.
            requests: encoded photos, each with what makes a note of the content that answers it; each
                client sends them in a random order of its own.
            clients: at once.
            think_s: between an answer and the client's next request.
        """
        self.answers: list[AnswerRecord] = []
        self._endpoint, self._requests, self._think_s = endpoint, requests, think_s
        super().__init__(partial(self._client, seed) for seed in range(clients))

    def _client(self, seed: int) -> None:
        rng, connection = random.Random(seed), self._endpoint.connect()
        headers: Mapping[str, str] | None = None
        while not self._over.is_set():
            body, read = rng.choice(self._requests)
            sent = time.monotonic()
            try:
                headers = headers or self._endpoint.headers()
                status, content = self._endpoint.ask(connection, body, headers)
                if status == 400:  # the token was renewed: what a client does that lives for long
                    connection.close()
                    time.sleep(_NEW_TOKEN_S)
                    headers = self._endpoint.headers()
                    status, content = self._endpoint.ask(connection, body, headers)
                note = read(content) if status == 200 else f"HTTP {status} {content[:200]!r}"
            except TimeoutError as error:
                status, note = -1, f"TimeoutError: {error}"
            except (OSError, HTTPException, FlyobjError) as error:  # no server, or no tokens yet
                status, note = 0, f"{type(error).__name__}: {error}"
            self.answers.append(AnswerRecord(sent, time.monotonic(), status, note))
            if status != 200:
                connection.close()  # as TorchServe does after an error
                self._over.wait(_PAUSE_S)
            if self._think_s:
                self._over.wait(self._think_s)
        connection.close()


@dataclass(frozen=True)
class ExpectedAnswer:
    """What a photo must be answered with: one of `names`, which are as good as level."""

    names: frozenset[str]
    confidence: float

    def fault(self, content: bytes) -> str | None:
        """Say what is wrong with a server's answer, or None."""
        try:
            name, confidence = best(json.loads(content))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        if name in self.names and abs(confidence - self.confidence) <= TOLERANCE:
            return None
        return f"{name!r} ({confidence:.3f}), not {sorted(self.names)} ({self.confidence:.3f})"


def expected_answer(probabilities: Mapping[str, float]) -> ExpectedAnswer:
    """Make of a right answer what others are compared with."""
    most = max(probabilities.values())
    level = frozenset(name for name, p in probabilities.items() if p >= most - TOLERANCE)
    return ExpectedAnswer(level, most)


def best(answer: Any) -> tuple[str, float]:
    """Read the best class and its probability, however a server puts it."""
    if isinstance(answer, list):  # BentoML's batch of one
        (answer,) = answer
    if "outputs" in answer:  # KServe's V2 protocol, MLServer
        answer = json.loads(answer["outputs"][0]["data"][0])
    if "predicted" in answer:
        return answer["predicted"], answer["confidence"]
    name = max(answer, key=answer.__getitem__)  # TorchServe's image_classifier
    return name, answer[name]


@dataclass(frozen=True)
class ClosedLoopResult:
    """What came of a load: latencies of right answers, and what was wrong with the others."""

    seconds: float
    latencies_s: Sequence[float]
    faults: Sequence[str] = ()

    def summary(self, cpu_s: float) -> dict[str, Any]:
        """Rates, latencies in ms, and CPU-ms per answer."""
        n = len(self.latencies_s)
        faults = {"errors": len(self.faults), "examples": [*self.faults[:3]]}
        if n == 0:
            return {"answers": 0, **faults}
        p50, p99 = (1000 * percentile(self.latencies_s, share) for share in (0.5, 0.99))
        return {
            "answers": n,
            "per_s": round(n / self.seconds, 1),
            "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1),
            "cpu_ms": round(cpu_s / n * 1000, 2),
            **faults,
        }


def put_load(
    endpoint: Endpoint, photos: Sequence[tuple[bytes, ExpectedAnswer]], clients: int, seconds: float
) -> ClosedLoopResult:
    """Let `clients` ask for some seconds; every answer is checked."""
    requests = [(endpoint.encode(photo), expected.fault) for photo, expected in photos]
    started = time.monotonic()
    with ClosedLoop(endpoint, requests, clients) as loop:
        time.sleep(seconds)
    took = time.monotonic() - started  # answers that were under way at the end are counted too
    latencies = [answer.took_s for answer in loop.answers if answer.note is None]
    return ClosedLoopResult(took, latencies, [a.note for a in loop.answers if a.note is not None])
