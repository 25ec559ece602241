"""A server that stands where TorchServe does behind a gate, and keeps every byte that reaches it."""

import json
import socketserver
import threading
from dataclasses import dataclass, field
from typing import Self

_ANSWER = json.dumps({"predicted": "a", "confidence": 1.0, "probabilities": {"a": 1.0}}).encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@dataclass
class Received:
    """A request as it came.

    Attributes:
        head: its first line and headers, with the line ends.
        body: as long as its length said.
        odd: what makes it a request that another reader might read otherwise; empty if nothing.
    """

    head: bytes
    body: bytes = b""
    odd: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """What is asked for."""
        return self.head.split(b"\r\n")[0].split(b" ")[1].decode("latin-1")


class Recorder(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1 in a `with`; answers every request as a classifier would."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        """Take a port."""
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port: int = self.server_address[1]
        self.received: list[Received] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    server: Recorder

    def handle(self) -> None:
        """Read requests strictly: one length, no chunks, nothing but CRLF between lines."""
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    if head:
                        self.server.received.append(Received(head, odd=["cut short"]))
                    return
                head += line
            request = Received(head)
            request.odd = list(_oddities(head))
            lengths = [v for n, v in _headers(head) if n.lower() == b"content-length" and v.isdigit()]
            request.body = self.rfile.read(int(lengths[0])) if lengths else b""
            self.server.received.append(request)
            self.wfile.write(_HEAD % len(_ANSWER) + _ANSWER)


def _headers(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = head.split(b"\r\n")[1:-2]
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


def _oddities(head: bytes) -> list[str]:
    found = []
    names = [name.lower() for name, _ in _headers(head)]
    first = head.split(b"\r\n")[0]
    if not first.endswith(b" HTTP/1.1") or first.count(b" ") != 2:
        found.append(f"first line {first[:60]!r}")
    for name in (b"content-length", b"host"):
        if names.count(name) > 1:
            found.append(f"{names.count(name)} times {name.decode()}")
    if b"host" not in names:
        found.append("no host")
    found += [f"{name.decode()}" for name in (b"transfer-encoding", b"upgrade", b"te") if name in names]
    if head.replace(b"\r\n", b"").translate(
        None, bytes(range(32, 127)) + bytes(range(128, 256)) + b"\t"
    ):
        found.append("control characters")
    if any(not name or b" " in name for name, _ in _headers(head)):
        found.append("a header without a proper name")
    return found
