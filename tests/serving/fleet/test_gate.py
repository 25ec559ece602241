"""The gate: a real nginx, made by `flyobj gate init`, before a server that says what it was sent."""

import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from model.errors import FlyobjError
from serving.fleet import certificate, nginx
from serving.fleet.balancer import set_upstream
from serving.stock import stock_file
from tests.helpers.servers import free_ports
from tests.helpers.tools import find_tool, let_others_enter

NGINX = find_tool("nginx")
needs_nginx = pytest.mark.usefixtures("nginx")
PATH = "/predictions/flying_objects"
FlyObj = Callable[..., "subprocess.CompletedProcess[str]"]


class Upstream(BaseHTTPRequestHandler):
    """Answers with the request line, headers and length that it got, and remembers them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer on a kept connection takes 40 ms
    seen: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        length = len(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        self.seen.append(self.requestline)
        said = {"line": self.requestline, "headers": dict(self.headers), "length": length}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("X-Model-Version", "2.0")
        self.send_header("X-Request-Id", "of TorchServe")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.do_POST()

    def do_OPTIONS(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as web:
        web.daemon_threads = True
        thread = Thread(target=web.serve_forever)
        thread.start()
        yield web.server_port
        web.shutdown()
        thread.join()


@contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    """Run nginx as `flyobj gate init` says."""
    command = [str(NGINX), "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off;"]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.05)
            yield
        finally:
            process.terminate()


class Front:
    """A running gate."""

    def __init__(self, folder: Path, port: int, key: str) -> None:
        self.folder, self.port, self.key = folder, port, key
        self.context = ssl.create_default_context(cafile=folder / certificate.CERTIFICATE)

    def ask(self, method: str = "POST", path: str = PATH, key: str | None = None, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"} if key != "" else {}
        headers |= more.pop("headers", {})
        url = f"https://localhost:{self.port}{path}"
        with httpx.Client(verify=self.context, trust_env=False) as http:
            return http.request(method, url, headers=headers, **more)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return what comes back until the end."""
        answer = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(request)
            try:
                while part := secure.recv(65536):
                    answer += part
            except OSError:  # some refusals end with a reset
                pass
        return answer

    def log(self) -> list[dict[str, Any]]:
        lines = (self.folder / "logs" / "access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def front(
    upstream: int, flyobj: FlyObj, tmp_path_factory: pytest.TempPathFactory, nginx: str
) -> Iterator[Front]:
    del nginx
    folder, port = tmp_path_factory.mktemp("gate") / "gate", free_ports(1)
    let_others_enter(folder.parent)  # nginx's workers keep larger photos there
    options = ("--listen", f"127.0.0.1:{port}", "--server", f"127.0.0.1:{upstream}")
    origins = ("--allow-origin", "https://app.example.org", "--allow-origin", "http://localhost:3000")
    made = flyobj("gate", "init", folder, "--self-signed", *options, *origins, "--json")
    with running(folder, port):
        yield Front(folder, port, json.loads(made.stdout)["key"])


def test_what_the_server_sees_is_written_anew(front: Front) -> None:
    sent = {"User-Agent": "x", "Cookie": "y", "X-Top-K": "2", "Content-Type": "image/jpeg"}
    sent |= {"X-Evil": "z", "X-Request-Id": "chosen", "X-Flyobj-Pause": "0" * 32, "Connection": "X-Evil"}
    answer = front.ask(path=f"{PATH}/1.0?a=b", content=b"photo", headers=sent)
    assert answer.status_code == 200
    seen = answer.json()
    assert (seen["line"], seen["length"]) == (f"POST {PATH}/1.0 HTTP/1.1", 5)
    request_id = answer.headers["X-Request-Id"]
    assert seen["headers"] == {
        "Host": "torchserve",
        "Content-Type": "image/jpeg",
        "X-Top-K": "2",
        "X-Request-Id": request_id,
        "Content-Length": "5",
    }
    # Written after the answer.
    assert wait_until(lambda: [line["id"] for line in front.log()][-1:] == [request_id])
    line = front.log()[-1]
    by_curl = {"Content-Type": "application/x-www-form-urlencoded"}  # TorchServe would answer 500
    seen = front.ask(content=b"photo", headers=by_curl).json()
    assert seen["headers"]["Content-Type"] == "application/octet-stream"
    asked = {"key": "first", "method": "POST", "path": f"{PATH}/1.0", "version": "2.0", "status": 200}
    assert line.items() >= asked.items()
    assert line["seconds"] >= float(line["upstream_seconds"]) >= 0


def test_a_photo_over_the_buffer_and_one_in_pieces(front: Front) -> None:
    assert front.ask("PUT", content=bytes(3 << 20)).json()["length"] == 3 << 20
    assert front.ask(content=iter([b"a", b"bc"])).json()["length"] == 3
    refused = front.ask(content=bytes(22 << 20))
    assert (refused.status_code, refused.json()["type"]) == (413, "PhotoTooLarge")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/models", 404, "ResourceNotFoundException"),
        ("POST", "/predictions/..%2fmodels", 404, "ResourceNotFoundException"),
        ("POST", "/predictions/a%0d%0aX: y", 404, "ResourceNotFoundException"),
        ("POST", "/predictions/flying_objects/2.0/x", 404, "ResourceNotFoundException"),
        ("POST", "/v1/models/flying_objects:unload", 404, "ResourceNotFoundException"),
        ("DELETE", PATH, 405, "MethodNotAllowedException"),
    ],
)
def test_what_leads_nowhere(front: Front, method: str, path: str, status: int, kind: str) -> None:
    before = len(Upstream.seen)
    refused = front.ask(method, path)
    assert (refused.status_code, refused.json()["code"]) == (status, status)
    assert refused.json()["type"] == kind
    assert len(Upstream.seen) == before


@pytest.mark.parametrize(
    "path", ["/v1/models/flying_objects:predict", "/explanations/cats/1.2", "/ping"]
)
def test_what_is_passed_on(front: Front, path: str) -> None:
    assert front.ask(path=path, content=b"x").json()["line"] == f"POST {path} HTTP/1.1"


def test_keys_have_names_and_can_be_taken_away(front: Front, inside: FlyObj) -> None:
    for wrong in ("", "another", "first"):
        refused = front.ask(key=wrong)
        assert (refused.status_code, refused.json()["type"]) == (401, "InvalidKeyException")
    alice = inside("gate", "key", "alice", "--gate", front.folder).stdout.strip()
    assert wait_until(lambda: front.ask(key=alice, content=b"x").status_code == 200)
    assert wait_until(lambda: front.log()[-1]["key"] == "alice")
    assert "already" in inside("gate", "key", "alice", "--gate", front.folder, code=2).stderr
    inside("gate", "key", "alice", "--remove", "--gate", front.folder)
    assert wait_until(lambda: front.ask(key=alice).status_code == 401)
    assert front.ask(content=b"x").status_code == 200
    assert (front.folder / nginx.KEYS).stat().st_mode & 0o077 == 0
    text = (front.folder / "logs" / "access.log").read_text()
    assert alice not in text
    assert front.key not in text


def test_pages_of_named_origins_may_ask(front: Front) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for origin in ("https://app.example.org", "http://localhost:3000"):
        allowed = front.ask("OPTIONS", key="", headers={"Origin": origin, **asks})
        assert allowed.status_code == 204
        assert allowed.headers["Access-Control-Allow-Origin"] == origin
        assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
        assert allowed.headers["Access-Control-Allow-Methods"] == "POST, PUT"
        for key, status in ((None, 200), ("", 401)):  # a page may read why, too
            answer = front.ask(key=key, content=b"x", headers={"Origin": origin})
            assert answer.status_code == status
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Vary"] == "Origin"
    for origin in ("https://app.example.org.evil", "https://app.example.org:8443", "null"):
        refused = front.ask("OPTIONS", key="", headers={"Origin": origin, **asks})
        assert refused.status_code == 401
        assert not [name for name in refused.headers if name.startswith("access-control")]
    assert front.ask("OPTIONS", content=b"").json()["line"] == f"OPTIONS {PATH} HTTP/1.1"


def test_what_the_server_never_sees(front: Front) -> None:
    key = f"Authorization: Bearer {front.key}\r\n".encode()
    post = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n".encode() + key
    before = len(Upstream.seen)
    for request, status in (
        (f"GET {PATH}\r\n".encode(), b'"code": 505'),  # HTTP/0.9 has no status line
        (f"POST {PATH} HTTP/1.0\r\n".encode() + key + b"Content-Length: 1\r\n\r\nx", b" 505 "),
        (post + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", b" 400 "),
        (
            post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1",
            b" 400 ",
        ),
        (post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b" 501 "),
        (post + b"X: " + b"a" * 9_000 + b"\r\n\r\n", b" 400 "),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
        (post.replace(b"Host: localhost\r\n", b"") + b"\r\n", b" 400 "),
    ):
        assert status in front.raw(request).split(b"\r\n")[0], request[:200]
    assert len(Upstream.seen) == before
    # Of two requests sent as one body the server sees one.
    answer = front.raw(post + b"Content-Length: 2\r\n\r\nab" + post + b"Content-Length: 1\r\n\r\nc")
    assert b'"length": 2' in answer
    assert len(Upstream.seen) == before + 1


def test_a_body_may_be_as_large_as_torchserves(front: Front) -> None:
    size = re.search(r"^max_request_size=(\d+)$", stock_file("config.properties").read_text(), re.M)
    assert size
    assert f"client_max_body_size {size[1]};" in (front.folder / nginx.CONF).read_text()


def test_protocols_and_ciphers(front: Front) -> None:
    for version, good in (("tls1_1", False), ("tls1_2", True), ("tls1_3", True)):
        tried = subprocess.run(
            ["openssl", "s_client", f"-{version}", "-connect", f"127.0.0.1:{front.port}"],
            input="", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ("Cipher is TLS_" in tried.stdout or "Cipher is ECDHE-" in tried.stdout) is good, version


def test_another_users_nginx_has_to_be_reloaded_by_that_user(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(error: type[OSError]) -> None:
        def kill(*_: int) -> None:
            raise error

        monkeypatch.setattr(os, "kill", kill)

    refuse(PermissionError)
    before = (front.folder / nginx.KEYS).read_text()
    with pytest.raises(FlyobjError, match="belongs to another user; reload it yourself"):
        nginx.write(front.folder, nginx.KEYS, before)
    refuse(ProcessLookupError)  # it ended in that moment
    assert not nginx.write(front.folder, nginx.KEYS, before)


def test_a_key_may_ask_so_often(
    upstream: int, tmp_path: Path, nginx: str, inside: FlyObj, free_port: int
) -> None:
    del nginx
    options = ("--plain", "--listen", f"127.0.0.1:{free_port}", "--server", f"127.0.0.1:{upstream}")
    made = inside(
        *("gate", "init", tmp_path / "gate", *options, "--domain", "gate.test", "--json"),
        *("--rate", 1, "--connections", 5),
    )
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}", "Host": "gate.test"}
    with running(tmp_path / "gate", free_port):
        url = f"http://127.0.0.1:{free_port}{PATH}"
        answers = [httpx.post(url, content=b"x", headers=headers) for _ in range(20)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:2] == [200, 200]
        assert 429 in statuses
        refused = answers[statuses.index(429)]
        assert (refused.json()["type"], refused.headers["Retry-After"]) == ("TooManyRequests", "1")
        assert httpx.post(url, headers=headers | {"Host": "other.test"}).status_code == 421
        # The gate has no server that could answer, then one again.
        address = f"127.0.0.1:{upstream}"
        assert set_upstream(tmp_path / "gate", address, up=False)
        assert wait_until(lambda: httpx.post(url, headers=headers).status_code == 503)
        assert not set_upstream(tmp_path / "gate", address, up=False)
        assert set_upstream(tmp_path / "gate", address, up=True)
        assert wait_until(lambda: httpx.post(url, headers=headers).status_code == 200)


@needs_nginx
def test_a_canary_behind_the_gate(front: Front) -> None:
    """The split is the canaries' own file, whoever made the folder."""
    assert nginx.write(front.folder, nginx.CANARY, nginx.split("3.0", 100))
    assert wait_until(lambda: "/3.0 HTTP" in front.ask(content=b"x").json()["line"])
    assert wait_until(lambda: front.log()[-1]["canary"] == "/3.0")
    assert "/1.0 HTTP" in front.ask(path=f"{PATH}/1.0", content=b"x").json()["line"]
    assert wait_until(lambda: front.log()[-1]["canary"] == "named")
    nginx.write(front.folder, nginx.CANARY, nginx.split("", 0))
    assert wait_until(lambda: "/3.0 HTTP" not in front.ask(content=b"x").json()["line"])


def wait_until(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False
