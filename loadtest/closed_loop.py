"""Load on a server: answers and latencies.

The load is a closed loop: each client keeps one connection and sends its next photo when it has the last
one's answer. Clients are threads of this process on `http.client`, about 0.3 ms of CPU a request, which
isn't counted but shares the server's cores.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from model.golden import TOLERANCE
from serving.server.latency import percentile

TIMEOUT_S = 120


@dataclass(frozen=True)
class Endpoint:
    """Where a server takes photos, and how it wants them."""

    port: int
    path: str
    encode: Callable[[bytes], bytes] = bytes
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, connection: HTTPConnection, body: bytes) -> Any:
        """Send an encoded photo; returns the answer, or raises for any status but 200."""
        connection.request("POST", self.path, body, self.headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise HTTPException(f"HTTP {response.status} {content[:200]!r}")
        return json.loads(content)

    def connect(self) -> HTTPConnection:
        """Make a connection; it is opened by the first request."""
        return HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)


@dataclass(frozen=True)
class ExpectedAnswer:
    """What a photo must be answered with: one of `names`, which are as good as level."""

    names: frozenset[str]
    confidence: float

    def wrong(self, answer: Any) -> str | None:
        """Say what is wrong with a server's answer, or None."""
        name, confidence = best(answer)
        if name in self.names and abs(confidence - self.confidence) <= TOLERANCE:
            return None
        return f"{name!r} ({confidence:.3f}), not {sorted(self.names)} ({self.confidence:.3f})"


def expected_answer(probabilities: dict[str, float]) -> ExpectedAnswer:
    """Make of a right answer what others are held against."""
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


@dataclass
class ClosedLoopResult:
    """What came of a load."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def summary(self, cpu_s: float) -> dict[str, Any]:
        """Rates, latencies in ms, and CPU-ms an answer."""
        n = len(self.latencies_s)
        if n == 0:
            return {"answers": 0, "errors": len(self.wrong), "examples": self.wrong[:3]}
        p50, p99 = (1000 * percentile(self.latencies_s, share) for share in (0.5, 0.99))
        return {
            "answers": n,
            "per_s": round(n / self.seconds, 1),
            "p50_ms": round(p50, 1),
            "p99_ms": round(p99, 1),
            "cpu_ms": round(cpu_s / n * 1000, 2),
            "errors": len(self.wrong),
            "examples": self.wrong[:3],
        }


def put_load(
    endpoint: Endpoint, photos: Sequence[tuple[bytes, ExpectedAnswer]], clients: int, seconds: float
) -> ClosedLoopResult:
    """Let `clients` ask for some seconds, each in an order of its own; every answer is checked."""
    load, lock = ClosedLoopResult(), threading.Lock()
    encoded = [(endpoint.encode(photo), expected_answer) for photo, expected_answer in photos]
    started = time.monotonic()

    def client(seed: int) -> None:
        rng, connection = random.Random(seed), endpoint.connect()
        latencies, wrong = [], []
        while time.monotonic() - started < seconds:
            body, expected_answer = rng.choice(encoded)
            begun = time.monotonic()
            try:
                fault = expected_answer.wrong(endpoint.ask(connection, body))
            except (OSError, HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
                fault = f"{type(error).__name__}: {error}"
                connection.close()
                time.sleep(0.05)  # a server that is gone must not be asked in a tight loop
            if fault:
                wrong.append(fault)
            else:
                latencies.append(time.monotonic() - begun)
        connection.close()
        with lock:
            load.latencies_s += latencies
            load.wrong += wrong

    threads = [threading.Thread(target=client, args=(seed,), daemon=True) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.monotonic() - started  # answers that were under way at the end are counted too
    return load
