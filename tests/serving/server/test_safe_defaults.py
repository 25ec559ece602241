"""What the server as configured lets nobody do, each tried on a running one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from serving.server import lifecycle
from serving.server.tokens import KINDS
from serving.stock import stock_file

if TYPE_CHECKING:
    from tests.conftest import Home

OFFSETS = {"inference": 0, "management": 1, "metrics": 2, "gRPC": 3, "gRPC management": 4}


def listening(home: "Home") -> dict[int, str]:
    process = lifecycle.require(home.path).process()
    assert process is not None
    sockets = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return {c.laddr.port: c.laddr.ip for c in sockets}


@pytest.mark.parametrize("use", OFFSETS)
def test_every_port_is_on_loopback(server: "Home", use: str) -> None:
    address = listening(server)[server.port + OFFSETS[use]].removeprefix("::ffff:")
    assert ip_address(address).is_loopback


def test_nothing_else_listens(server: "Home") -> None:
    assert set(listening(server)) == {server.port + offset for offset in OFFSETS.values()}


@pytest.fixture
def tokens(server: "Home") -> dict[str, dict[str, str]]:
    with server.client() as client:
        found = {kind: client.tokens.get(kind) for kind in KINDS}
    return {kind: {"Authorization": f"Bearer {key}"} for kind, key in found.items()}


MANAGEMENT = (
    ("GET", "/models"),
    ("GET", "/models/flying_objects"),
    ("POST", "/models?url=flying_objects-1.0.mar"),
    ("PUT", "/models/flying_objects?min_worker=0"),
    ("PUT", "/models/flying_objects/1.0/set-default"),
    ("DELETE", "/models/flying_objects/1.0"),
    ("GET", "/token?type=management"),
)


@pytest.mark.parametrize(("method", "path"), MANAGEMENT)
@pytest.mark.parametrize("key", ["none", "inference", "wrong"])
def test_management_takes_its_own_token_only(
    server: "Home", tokens: dict[str, dict[str, str]], method: str, path: str, key: str
) -> None:
    headers = {"none": {}, "inference": tokens["inference"], "wrong": {"Authorization": "Bearer x"}}[key]
    answer = httpx.request(method, f"http://127.0.0.1:{server.port + 1}{path}", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")


def test_inference_takes_its_own_token_only(
    server: "Home", tokens: dict[str, dict[str, str]], photos: list[bytes]
) -> None:
    answer = httpx.post(server.url(), content=photos[0], headers=tokens["management"])
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")


@contextmanager
def bucket() -> Iterator[tuple[str, list[str]]]:
    """A web server that would hand out an archive, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"127.0.0.1:{web.server_port}", asked
        web.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://{}/a.mar",
        "https://{}/a.mar",
        "HTTP://{}/a.mar",
        "s3://{}/a.mar",
        "ftp://{}/a.mar",
        "file://none/../../etc/passwd",
        "file:///etc/hostname",
        "../a.mar",
        "/etc/hostname",
    ],
)
def test_nothing_is_fetched_or_registered_from_elsewhere(
    server: "Home", tokens: dict[str, dict[str, str]], url: str
) -> None:
    with bucket() as (place, asked):
        answer = httpx.post(
            f"http://127.0.0.1:{server.port + 1}/models",
            params={"url": url.format(place), "model_name": "elsewhere"},
            headers=tokens["management"],
        )
    assert (answer.status_code, asked) == (404, [])


def test_a_request_over_the_limit_is_refused(server: "Home") -> None:
    limit = int(setting("max_request_size"))
    content = b"\xff\xd8\xff" + bytes(limit)
    try:
        answer = httpx.post(server.url(), content=content, headers=server.headers(), timeout=60)
    except httpx.TransportError:  # refused and closed while we were still sending
        return
    assert answer.status_code == 413


def setting(key: str) -> str:
    lines = (stock_file("config.properties")).read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{key}="))


def test_the_server_writes_nothing_into_its_store(server: "Home") -> None:
    ours = {".deployment.lock", "deployment.json", "deployment-history.jsonl"}
    archives = {p.name for p in server.store.iterdir()} - ours
    assert "flying_objects-1.0.mar" in archives
    assert {Path(name).suffix for name in archives} == {".mar"}  # other tests deploy theirs


def test_tokens_are_their_owners_alone(server: "Home") -> None:
    assert (Path(server.path) / "key_file.json").stat().st_mode & 0o077 == 0
