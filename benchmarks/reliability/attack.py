"""Attacks on the gate: what does nginx answer, and does TorchServe see anything of it?

nginx with the gate's configuration stands in front of a server that keeps every byte that reaches it
(`benchmarks.reliability.recorder`). Each kind of `benchmarks.reliability.raw_requests` is sent alone.
Nothing of it may get there, but for what nginx has made anew into one well-formed request for a photo.
Then a thousand slow clients hold connections while an honest one asks, and versions and ciphers of TLS
are tried with openssl. Needs nginx and openssl. The last line is the result as JSON.

    python -m benchmarks.reliability.attack [--slow 1000] [--seconds 30] [--table FILE]
"""

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from benchmarks.reliability.raw_requests import BODY, PATH, Attack
from benchmarks.reliability.recorder import Received, Recorder

ALLOWED_PATHS = ("/predictions/", "/explanations/", "/v1/")
CLOSED = 0  # the status of a connection that was closed, or held until we gave up
_WAIT_S, _MORE_S = 2.0, 0.3  # for an answer, and for more of it
_SLOW_KINDS = ("says nothing", "head byte by byte", "body byte by byte")


@dataclass(frozen=True)
class Gate:
    """Where nginx listens, the name and key that it knows, and how it speaks TLS, if it does."""

    port: int
    host: str
    key: str
    context: ssl.SSLContext | None = None

    def connect(self) -> socket.socket:
        """Open a connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=_WAIT_S)
        return self.context.wrap_socket(plain, server_hostname=self.host) if self.context else plain

    def request(self) -> bytes:
        """Make an honest request."""
        head = f"POST {PATH} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.key}\r\n"
        return head.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(BODY) + BODY


@dataclass(frozen=True)
class Result:
    """What came of an attack: the statuses of the answers, and what is wrong, if anything."""

    kind: str
    statuses: tuple[int, ...]
    passed_on: int
    wrong: str = ""


def try_attack(gate: Gate, recorder: Recorder, attack: Attack) -> Result:
    """Send one attack's bytes and wait for what comes of it."""
    recorder.received.clear()
    answer = b""
    with suppress(OSError), gate.connect() as connection:
        with suppress(OSError):  # closed while it was sent; the answer may be there
            connection.sendall(attack.content)
        with suppress(OSError):
            while part := connection.recv(65_536):
                answer += part
                connection.settimeout(_MORE_S)
    statuses = tuple(_statuses(answer))
    received = list(recorder.received)
    return Result(attack.kind, statuses, len(received), _judge(attack, statuses, received))


def _statuses(answer: bytes) -> Iterator[int]:
    for line in answer.split(b"HTTP/1.1 ")[1:]:
        if line[:3].isdigit():
            yield int(line[:3])


def _judge(attack: Attack, statuses: Sequence[int], received: Sequence[Received]) -> str:
    """Say what is wrong; nothing is an empty text."""
    if attack.honest and (statuses[:1] != (200,) or len(received) != 1):
        return "refused"
    if not attack.may_pass and received:
        return f"reached the server: {received[0].head[:100]!r}"
    if len(received) > 1:
        return f"became {len(received)} requests"
    for request in received:
        if request.odd:
            return f"reached the server with {', '.join(request.odd)}"
        if not _is_plain(request.path):
            return f"reached the server at {request.path}"
    if any(status >= 500 and status not in (501, 505) for status in statuses):
        return f"answered with {statuses}"
    return ""


def _is_plain(path: str) -> bool:
    """Whether a path leads where it seems to, however often it is decoded."""
    decoded = unquote(unquote(path))
    odd = "//" in decoded or ".." in decoded or set(decoded) & set("\\\r\n\0;")
    return path.startswith(ALLOWED_PATHS) and not odd


def slow_clients(gate: Gate, recorder: Recorder, clients: int, seconds: float) -> dict[str, Any]:
    """Hold connections in three ways while an honest client asks; returns what both saw."""
    recorder.received.clear()
    end = time.monotonic() + seconds
    held: Counter[str] = Counter()
    refused = 0
    with ExitStack() as stack:
        slow: list[tuple[str, socket.socket, bytes]] = []
        for number in range(clients):
            kind = _SLOW_KINDS[number % len(_SLOW_KINDS)]
            try:
                connection = stack.enter_context(gate.connect())
            except OSError:
                refused += 1
                continue
            slow.append((kind, connection, _slow_bytes(gate, kind)))
        sender = threading.Thread(target=_send_slowly, args=(slow, end), daemon=True)
        sender.start()
        statuses, waits = _ask_until(gate, end)
        sender.join()
        for kind, connection, _ in slow:
            held[kind] += _is_open(connection)
    honest = sum(statuses.values())
    return {
        "clients": clients,
        "refused_at_once": refused,
        "still_held": dict(held),
        "honest": {str(status): count for status, count in statuses.items()},
        "longest_s": round(max(waits), 2),
        "reached_the_server": len(recorder.received),
        "passed": set(statuses) == {200} and len(recorder.received) == honest,
    }


def _slow_bytes(gate: Gate, kind: str) -> bytes:
    """What a slow client has to say, a byte at a time."""
    head, _, _ = gate.request().partition(b"\r\n\r\n")
    long = head.replace(b"Content-Length: 5\r\nConnection: close", b"Content-Length: 100000")
    return {
        "says nothing": b"",
        "head byte by byte": b"POST / HTTP/1.1\r\nX-A: " + b"a" * 10_000,
        "body byte by byte": long + b"\r\n\r\n" + bytes(100_000),
    }[kind]


def _send_slowly(slow: Sequence[tuple[str, socket.socket, bytes]], end: float) -> None:
    """Send a byte of each every second; those with a body send their head first."""
    position = 0
    while time.monotonic() < end:
        for kind, connection, content in slow:
            first = content.find(b"\r\n\r\n") + 4 if kind.startswith("body") and not position else 1
            with suppress(OSError):
                connection.sendall(content[position : position + first] if content else b"")
        position += 1 if position else max(len(c[2]) and 1 for c in slow)
        time.sleep(1)


def _ask_until(gate: Gate, end: float) -> tuple[Counter[int], list[float]]:
    statuses: Counter[int] = Counter()
    waits = []
    while time.monotonic() < end:
        started, answer = time.monotonic(), b""
        with suppress(OSError), gate.connect() as connection:
            connection.sendall(gate.request())
            while part := connection.recv(65_536):
                answer += part
        statuses[next(_statuses(answer), CLOSED)] += 1
        waits.append(time.monotonic() - started)
        time.sleep(0.2)
    return statuses, waits


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1)) and False
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
