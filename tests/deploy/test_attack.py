"""The gate under attack, byte by byte; `python -m benchmarks.reliability.attack` stays for longer."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability.attack import HOST, Gate, attack, try_attack
from benchmarks.reliability.raw_requests import attacks
from benchmarks.reliability.recorder import Recorder
from benchmarks.reliability.tls import is_modern, try_tls
from serving.fleet import certificate, nginx
from serving.server.ports import free_port
from tests.helpers.tools import find_tool

# What an nginx does that is told no more than where the server is.
NAIVE = """
pid nginx.pid;
error_log logs/error.log;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {
        listen 127.0.0.1:PORT;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        location /predictions/ { proxy_pass http://127.0.0.1:SERVER; }
    }
}
"""

pytestmark = pytest.mark.usefixtures("nginx")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return attack(tmp_path_factory.mktemp("attack"), slow=60, seconds=3)


def test_nothing_reaches_the_server_but_what_nginx_made_anew(document: dict[str, Any]) -> None:
    assert document["wrong"] == {}
    assert document["attacks"] > 100
    answers = {kind: (statuses, passed_on) for kind, statuses, passed_on in document["results"]}
    for kind, status in (
        ("HTTP/1.0", 505),
        ("HTTP/3.0", 505),
        ("length: two that differ", 400),
        ("length: chunked with length", 400),
        ("chunks: extension with a quoted line break", 400),
        ("head: a header of 64 KB", 400),
        ("host: 'evil.example'", 421),
        ("host: in the request line", 421),
        ("key: none", 401),
        ("key: wrong, then right", 400),
        ("head: method 'DELETE'", 405),
        ("path: 64 KB", 414),
        ("body over the limit", 413),
    ):
        assert answers[kind] == ([status], 0), kind
    assert answers["an honest request in chunks"] == ([200], 1)
    assert answers["HTTP/0.9"] == ([], 0)


def test_slow_clients_hold_up_nobody_else(document: dict[str, Any]) -> None:
    slow = document["slow"]
    assert set(slow["honest"]) == {"200"}
    assert slow["reached_the_server"] == sum(slow["honest"].values()) > 0


def test_versions_and_ciphers(document: dict[str, Any]) -> None:
    assert {name for name, _, _ in document["tls"]} == {"TLSv1.2", "TLSv1.3"}
    assert document["weak"] == []


def test_a_gate_that_lets_it_through_is_found_out(tmp_path: Path) -> None:
    """The attacks aren't refused by any nginx: without them the check would say nothing."""
    port = free_port()
    with Recorder() as recorder:
        conf = NAIVE.replace("PORT", str(port)).replace("SERVER", str(recorder.port))
        (tmp_path / "logs").mkdir()
        (tmp_path / nginx.CONF).write_text(conf)
        command = [str(find_tool("nginx")), "-p", str(tmp_path), "-c", nginx.CONF, "-g", "daemon off;"]
        with subprocess.Popen(command) as process:
            gate = Gate(port, HOST, "key", "other")
            try:
                while True:
                    with suppress(OSError), gate.connect():
                        break
                found = {a.kind: try_attack(gate, recorder, a).wrong for a in attacks(HOST, "key")}
            finally:
                process.terminate()
    assert found["an honest request"] == ""
    for kind, wrong in (
        ("host: 'evil.example'", "reached the server: "),
        ("key: none", "reached the server: "),
        ("path: /models/../predictions/flying_objects", "reached the server at /models/../"),
    ):
        assert found[kind].startswith(wrong), kind


@pytest.fixture
def weak_server(tmp_path: Path) -> Iterator[int]:
    """TLS with ciphers of another age."""
    files = certificate.make(tmp_path, [HOST])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / files.certificate, tmp_path / files.key)
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as one:
                        one.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_a_weak_cipher_is_found(weak_server: int) -> None:
    found = {(name, cipher) for name, cipher, _ in try_tls(weak_server, HOST)}
    weak = {cipher for name, cipher in found if not is_modern(name, cipher)}
    assert ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256") in found
    assert weak == {"ECDHE-ECDSA-AES128-SHA"}
