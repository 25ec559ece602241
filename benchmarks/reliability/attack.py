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
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.program import parser_of, run
from benchmarks.reliability.programs import find_program, wait_for
from benchmarks.reliability.raw_requests import BODY, PATH, Attack, attacks
from benchmarks.reliability.recorder import Received, Recorder
from benchmarks.reliability.tls import is_modern, try_tls
from serving.fleet import certificate, gate
from serving.fleet.gate import GateSettings
from serving.server.ports import free_port

HOST = "photos.example"
ALLOWED_PATHS = ("/predictions/", "/explanations/", "/v1/", "/ping")
CLOSED = 0  # the status of a connection that was closed, or held until we gave up
_WAIT_S, _MORE_S = 2.0, 0.3  # for an answer, and for more of it
_SLOW_KINDS = ("says nothing", "head byte by byte", "body byte by byte")


@dataclass(frozen=True)
class Gate:
    """Where nginx listens, the name and key that it knows, and how it speaks TLS, if it does."""

    port: int
    host: str
    key: str
    other_key: str  # of the slow clients: limits are each key's own
    context: ssl.SSLContext | None = None

    def connect(self) -> socket.socket:
        """Open a connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=_WAIT_S)
        return self.context.wrap_socket(plain, server_hostname=self.host) if self.context else plain

    def request(self, key: str, body: bytes = BODY) -> bytes:
        """Make an honest request."""
        head = f"POST {PATH} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {key}\r\n"
        return head.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


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
    held: Counter[str] = Counter()
    refused = 0
    with ExitStack() as stack:
        slow: list[tuple[socket.socket, bytes]] = []
        kinds = []
        for number in range(clients):
            kind = _SLOW_KINDS[number % len(_SLOW_KINDS)]
            at_once, content = _slow_bytes(gate, kind)
            try:
                connection = stack.enter_context(gate.connect())
                connection.sendall(at_once)
            except OSError:
                refused += 1
                continue
            slow.append((connection, content))
            kinds.append(kind)
        end = time.monotonic() + seconds
        sender = threading.Thread(target=_send_slowly, args=(slow, end), daemon=True)
        sender.start()
        statuses, waits = _ask_until(gate, end)
        sender.join()
        for kind, (connection, _) in zip(kinds, slow, strict=True):
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


def _slow_bytes(gate: Gate, kind: str) -> tuple[bytes, bytes]:
    """What a slow client says at once, and what it says a byte at a time."""
    head, _, body = gate.request(gate.other_key, bytes(100_000)).partition(b"\r\n\r\n")
    return {
        "says nothing": (b"", b""),
        "head byte by byte": (b"", b"POST / HTTP/1.1\r\nX-A: " + b"a" * 10_000),
        "body byte by byte": (head + b"\r\n\r\n", body),
    }[kind]


def _send_slowly(slow: Sequence[tuple[socket.socket, bytes]], end: float) -> None:
    """Send a byte of each every second."""
    position = 0
    while time.monotonic() < end:
        for connection, content in slow:
            with suppress(OSError):
                connection.sendall(content[position : position + 1])
        position += 1
        time.sleep(1)


def _ask_until(gate: Gate, end: float) -> tuple[Counter[int], list[float]]:
    statuses: Counter[int] = Counter()
    waits = []
    while time.monotonic() < end:
        started, answer = time.monotonic(), b""
        with suppress(OSError), gate.connect() as connection:
            connection.sendall(gate.request(gate.key))
            while part := connection.recv(65_536):
                answer += part
        statuses[next(_statuses(answer), CLOSED)] += 1
        waits.append(time.monotonic() - started)
        time.sleep(0.2)
    return statuses, waits


def _is_open(connection: socket.socket) -> bool:
    """Whether the gate still holds a connection; it doesn't where an answer waits to be read."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        pass
    return False


@contextmanager
def running_gate(folder: Path, server_port: int, tls: bool) -> Iterator[Gate]:
    """Make a gate as `flyobj gate init` does, start its nginx, and end it with the block."""
    port = free_port()
    files = certificate.make(folder, [HOST]) if tls else None
    listen, server = f"127.0.0.1:{port}", f"127.0.0.1:{server_port}"
    settings = GateSettings(HOST, files, listen=listen, servers=[server])
    keys = [gate.create(folder, settings) or ""]
    keys.append(gate.add_key(folder, "slow"))
    context = ssl.create_default_context(cafile=folder / certificate.CERTIFICATE) if tls else None
    command = [
        find_program("nginx", "nginx-light"),
        "-p",
        str(folder),
        "-c",
        "nginx.conf",
        "-g",
        "daemon off;",
    ]
    with subprocess.Popen(command) as process:
        try:
            wait_for("127.0.0.1", port, process)
            yield Gate(port, HOST, keys[0], keys[1], context)
        finally:
            process.terminate()


def attack(folder: Path, slow: int, seconds: float) -> dict[str, Any]:
    """Try everything: byte by byte without TLS, slow clients with it."""
    with Recorder() as recorder:
        for name in ("plain", "tls"):
            (folder / name).mkdir()
        with running_gate(folder / "plain", recorder.port, tls=False) as plain:
            tried = list(attacks(plain.host, plain.key))
            results = [try_attack(plain, recorder, one) for one in tried]
        with running_gate(folder / "tls", recorder.port, tls=True) as encrypted:
            slowly = slow_clients(encrypted, recorder, slow, seconds)
            protocols = list(try_tls(encrypted.port, encrypted.host))
    wrong = {result.kind: result.wrong for result in results if result.wrong}
    weak = [f"{name} {cipher}" for name, cipher, _ in protocols if not is_modern(name, cipher)]
    return {
        "attacks": len(results),
        "reached_the_server": sum(bool(r.passed_on) for r in results),
        "wrong": wrong,
        "slow": slowly,
        "tls": protocols,
        "weak": weak,
        "passed": not wrong and not weak and bool(protocols) and slowly["passed"],
        "results": [[r.kind, list(r.statuses), r.passed_on] for r in results],
    }


def write_table(document: Mapping[str, Any], path: Path) -> None:
    """Write what was sent, answered and passed on as a Markdown table."""
    lines = ["| sent | answered | reached TorchServe |", "|---|---|---|"]
    for kind, statuses, passed_on in document["results"]:
        answer = ", ".join(map(str, statuses)) or "none"
        lines.append(f"| {kind.replace('|', '/')} | {answer} | {'made anew' if passed_on else 'no'} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run it; it has passed if nothing reached the server that shouldn't."""
    parser = parser_of(__doc__)
    parser.add_argument("--slow", type=int, default=1000, help="slow clients")
    parser.add_argument("--seconds", type=float, default=30, help="that they stay")
    parser.add_argument("--table", type=Path, help="Markdown file to write every kind's answers to")
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="flyobj-attack-") as name:
            return attack(Path(name), arguments.slow, arguments.seconds)

    def show(document: Mapping[str, Any]) -> None:
        if arguments.table:
            write_table(document, arguments.table)

    run(measure, show)


if __name__ == "__main__":
    main()
