"""The gate with TLS before a real server, asked by every client of ours; and the server that returns."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from cli.targets import connect_to, open_target
from serving.archive.build import sha256
from serving.fleet.balancer import SERVERS
from serving.fleet.certificate import CERTIFICATE
from serving.page.backend import Answer, Backend, State
from serving.rollout.deployment import DeployedVersion, Deployment, write_deployment
from serving.server import lifecycle
from serving.server.connection import trust
from tests.helpers.servers import free_ports
from tests.serving.fleet.test_gate import running

if TYPE_CHECKING:
    from tests.conftest import Home, MakeHome

FlyObj = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class Served:
    """A server, the gate before it, and what its clients need."""

    home: "Home"
    gate: Path
    url: str
    key: str
    serve: tuple[object, ...]  # the command that starts the server

    def post(self, photo: bytes) -> httpx.Response:
        with httpx.Client(verify=trust(self.gate / CERTIFICATE), trust_env=False, timeout=60) as http:
            headers = {"Authorization": f"Bearer {self.key}"}
            return http.post(f"{self.url}/predictions/flying_objects", content=photo, headers=headers)

    def wait_until_open(self, photo: bytes) -> httpx.Response:
        """Return the first answer of the server.

        nginx takes a moment to read its configuration, and each of its processes a moment of its own.
        """
        until = time.monotonic() + 30
        while (answer := self.post(photo)).status_code == 503 and time.monotonic() < until:
            time.sleep(0.05)
        return answer


@pytest.fixture(scope="module")
def served(
    new_home: "MakeHome",
    archive_path: Path,
    flyobj: FlyObj,
    tmp_path_factory: pytest.TempPathFactory,
    nginx: str,
) -> Iterator[Served]:
    del nginx
    home, gate, port = new_home("gate"), tmp_path_factory.mktemp("gate") / "gate", free_ports(1)
    home.store.mkdir()
    shutil.copy(archive_path, home.store)
    deployed = DeployedVersion(archive_path.name, sha256(archive_path), workers=1)
    write_deployment(Deployment("1.0", {"1.0": deployed}), home.store)
    options = ("--listen", f"127.0.0.1:{port}", "--server", f"127.0.0.1:{home.port}")
    made = flyobj("gate", "init", gate, "--self-signed", *options, "--json")
    serve = ("serve", "--detach", "--port", home.port, "--model-store", home.store, "--home", home.path)
    serve += ("--no-tokens", "--private-ports", "--gate", gate)
    with running(gate, port):
        flyobj(*serve)
        url = f"https://localhost:{port}"
        yield Served(home, gate, url, json.loads(made.stdout)["key"], serve)


def test_the_answer_says_which_version_it_is_of(served: Served, photos: list[bytes]) -> None:
    answer = served.wait_until_open(photos[0])
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "1.0")
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
    refused = served.wait_until_open(b"words")
    assert (refused.status_code, refused.json()["type"]) == (415, "UnsupportedFormat")


def test_our_clients_speak_https(
    served: Served, dataset: Path, tmp_path: Path, inside: FlyObj, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = next((dataset / "test").rglob("*.jpg"))
    monkeypatch.setenv("FLYOBJ_TOKEN", served.key)
    refused = inside("predict", photo, "--server", served.url, code=2).stderr
    assert "has a certificate that isn't trusted here" in refused
    assert "FLYOBJ_CA_FILE" in refused
    monkeypatch.setenv("FLYOBJ_CA_FILE", str(photo))
    assert "holds no certificate" in inside("predict", photo, "--server", served.url, code=2).stderr
    monkeypatch.setenv("FLYOBJ_CA_FILE", str(served.gate / CERTIFICATE))
    (row,) = json.loads(inside("predict", photo, "--server", served.url, "--json").stdout)
    by_home = inside("predict", photo, "--home", served.home.path, "--json").stdout
    assert [row] == json.loads(by_home)
    url, content = f"{served.url}/predictions/flying_objects", photo.read_bytes()
    with open_target(f"{url}/1.0", tmp_path) as target:
        assert target.answer([content])[0]["probabilities"] == row["probabilities"]
    for named, version in ((f"{url}/1.0", "1.0"), (served.url, "default")):  # as the page asks
        with connect_to(named, tmp_path) as (client, asked):
            backend = Backend(tmp_path, client, asked)
            assert backend.state() == State((version,))
            answer = backend.ask(content, version)
            assert isinstance(answer, Answer)
            assert dict(answer.probabilities) == row["probabilities"]
            assert answer.version == "1.0"
            assert backend.heatmap(content, answer.version) is not None
            assert backend.examples(version) == ()
    with connect_to(f"{url}/7.0", tmp_path) as (client, asked):
        problem = Backend(tmp_path, client, asked).state().problem
        assert problem is not None
        assert "404" in problem


def test_locust_speaks_https(served: Served, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--users"]
    command += ["2", "--run-time", "2s", "--host", served.url, "--photos", str(dataset / "test")]
    monkeypatch.setenv("FLYOBJ_TOKEN", served.key)
    for ca_file, code, says in (
        (None, 2, "isn't trusted here"),
        (served.gate / CERTIFICATE, 0, r"Aggregated +[1-9]\d* +0\(0"),
    ):
        more = ["--ca-file", str(ca_file)] if ca_file else []
        ended = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        said = ended.stdout + ended.stderr
        assert ended.returncode == code, said
        assert re.search(says, said), said
    monkeypatch.setenv("FLYOBJ_TOKEN", "wrong")
    ended = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "refuses the token" in ended.stdout + ended.stderr


def test_a_returning_server_is_asked_when_it_is_ready(
    served: Served, photos: list[bytes], flyobj: FlyObj
) -> None:
    """Whether it was stopped or killed: until then the gate says that there is nobody, at once."""
    flyobj("stop", "--home", served.home.path)
    assert f"server 127.0.0.1:{served.home.port} down;" in (served.gate / SERVERS).read_text()
    assert served.post(photos[0]).status_code == 503
    flyobj(*served.serve)
    assert served.wait_until_open(photos[0]).status_code == 200
    process = lifecycle.require(served.home.path).process()
    assert process is not None
    process.kill()
    process.wait(30)

    seen: Counter[tuple[int, str]] = Counter()
    started, over = threading.Event(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            answer = served.post(photos[0])
            seen[answer.status_code, answer.headers.get("X-Model-Version", "")] += 1
            started.set()
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    started.wait(60)
    try:
        flyobj(*served.serve)
        assert served.wait_until_open(photos[0]).status_code == 200
    finally:
        over.set()
        thread.join()
    assert set(seen) <= {(503, ""), (200, "1.0")}  # TorchServe itself would answer 404 at first
    assert seen[503, ""] > 1


def test_a_probe_opens_the_gate(served: Served, photos: list[bytes], inside: FlyObj) -> None:
    path = served.gate / SERVERS
    path.write_text(path.read_text().replace(";", " down;"))
    inside("status", "--ready", "--home", served.home.path)
    assert "down" not in path.read_text()
    assert "doesn't have ['127.0.0.1:" in inside(
        *served.serve[:2], "--gate", served.gate, "--port", served.home.port + 10,
        *("--home", served.home.path.with_name("other"), "--no-tokens", "--private-ports"), code=2,
    ).stderr  # fmt: skip
    assert served.wait_until_open(photos[0]).status_code == 200
