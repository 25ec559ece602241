"""Several servers brought to one deployment.json: under load behind a real nginx, and refused.

`python -m benchmarks.reliability.fleet` does the same with three servers and for longer.
"""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.fleet import DRAIN_S, Fleet
from model.errors import FlyobjError, InputError
from serving.fleet import balancer
from serving.fleet.apply import apply_to_fleet
from serving.fleet.balancer import SERVERS, Balancer
from serving.fleet.inventory import parse_servers, read_inventory
from serving.fleet.nginx import CONF, KEYS, workers
from serving.rollout.history import read_history
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.remote_server import RemoteServer

if TYPE_CHECKING:
    from tests.conftest import Home

needs_nginx = pytest.mark.usefixtures("nginx")


@pytest.fixture(scope="module")
def fleet(
    archive_path: Path, photos: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two servers of one worker each."""
    fleet = Fleet(archive_path, photos[0], tmp_path_factory.mktemp("fleet"), servers=2)
    fleet.deployment("1.0")
    yield fleet
    for home in fleet.homes:
        lifecycle.stop(home)


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> Iterator[Client]:
    with fleet.running() as client:
        yield client


@needs_nginx
def test_no_change_of_the_fleet_loses_a_request(fleet: Fleet, front: Client) -> None:
    """Stopped half-way and finished, then by address alone."""
    with ContinuousLoad(front, fleet.photo, 3, "1.0", think_s=0.02) as load:
        fleet.no_room(load, "2.0", "1.0")
        fleet.rollout("one less, by address", fleet.by_address(), fleet.balancer(), load, "2.0")
    tally = load.tally()
    assert (tally.failed, tally.wrong, set(tally.statuses)) == (0, 0, {200})
    assert tally.requests > 200
    assert {row["event"]: row["as_wanted"] for row in fleet.rows} == {
        row["event"]: True for row in fleet.rows
    }
    said = fleet.rows[0]["said"]
    assert said.startswith(f"stopped at {fleet.homes[1]}: ")
    assert "the balancer sends it no requests; not tried: none; fix it and run the same" in said
    done = [(entry.operation, entry.outcome) for entry in read_history(fleet.store)]
    assert [operation for operation, _ in done] == ["apply to 2 servers"] * 3
    assert done[0][1] == said
    assert [outcome for _, outcome in done[1:]] == ["done"] * 2


@needs_nginx
def test_nginx_asks_for_a_key(fleet: Fleet, front: Client) -> None:
    url = f"{front.server.inference}/predictions/flying_objects"
    key = (fleet.proxy / KEYS).read_text().split('"')[1]
    for headers in ({}, {"Authorization": "Bearer another"}):
        answer = httpx.post(url, content=fleet.photo, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "InvalidKeyException")
    assert httpx.post(url, content=fleet.photo, headers={"Authorization": key}).status_code == 200
    assert (
        httpx.get(f"{front.server.inference}/models", headers={"Authorization": key}).status_code == 404
    )
    assert (fleet.proxy / KEYS).stat().st_mode & 0o077 == 0


@needs_nginx
@pytest.mark.usefixtures("front")
def test_by_the_command_line(fleet: Fleet, inside: Callable[..., object]) -> None:
    """A fleet of one home and one address; nothing has to be done to it."""
    fleet.deployment("2.0")
    servers = ["--server", fleet.homes[0], "--server", f"http://127.0.0.1:{fleet.ports[fleet.homes[1]]}"]
    for command in ("diff", "apply"):
        arguments = ["models", command, *servers, "--model-store", fleet.store]
        outcomes = json.loads(str(getattr(inside(*arguments, "--json"), "stdout", "")))
        assert [outcome["server"] for outcome in outcomes] == [str(fleet.homes[0]), servers[3]]
        states = {outcome["state"] for outcome in outcomes}
        assert states == {"not tried" if command == "diff" else "as it should be"}
        assert [outcome["changes"] for outcome in outcomes] == [[], []]


@needs_nginx
@pytest.mark.usefixtures("front")
def test_a_change_that_is_stopped(fleet: Fleet, inside: Callable[..., object]) -> None:
    """A server that is no home of ours can't be held still, so it must be out of the traffic."""
    before = fleet.states()
    fleet.deployment("2.0")
    path = fleet.store / "deployment.json"
    document = json.loads(path.read_text())
    document["versions"]["2.0"]["batch_size"] = 4  # the version would have to be taken away for that
    path.write_text(json.dumps(document))
    servers = [
        word for home in fleet.homes for word in ("--server", f"http://127.0.0.1:{fleet.ports[home]}")
    ]
    result = inside("models", "apply", *servers, "--model-store", fleet.store, "--json", code=1)
    assert "give the --proxy that takes it out of the traffic" in str(getattr(result, "stderr", ""))
    outcomes = json.loads(str(getattr(result, "stdout", "")))
    assert [outcome["state"] for outcome in outcomes] == ["failed", "not tried"]
    assert [change["action"] for change in outcomes[1]["changes"]] == ["restart"]
    assert fleet.states() == before
    fleet.deployment("2.0")


@needs_nginx
@pytest.mark.usefixtures("front")
def test_a_server_without_tokens_needs_none(fleet: Fleet) -> None:
    running = lifecycle.find(fleet.homes[0])
    assert running is not None
    assert running.key_file is None
    with Client(running) as client:
        assert client.tokens.get("management") == ""
        assert client.software() == version("torchserve")


@needs_nginx
def test_a_killed_server_is_passed_over(fleet: Fleet, front: Client) -> None:
    """The last one here: nobody brings it back."""
    with ContinuousLoad(front, fleet.photo, 3, "2.0", think_s=0.02) as load:
        time.sleep(0.5)
        fleet.kill(fleet.homes[1], load)
        fleet.one_is_down(load)
    tally = load.tally()
    assert (tally.failed, tally.wrong, set(tally.statuses)) == (0, 0, {200})
    assert fleet.rows[-1]["as_wanted"]
    assert re.search(r"doesn't answer \(ConnectError\).*; nothing was changed", fleet.rows[-1]["said"])


class OtherSoftware(BaseHTTPRequestHandler):
    """Describes itself in its own way."""

    says: object = None

    def do_OPTIONS(self) -> None:
        body = json.dumps(self.says).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (
            {"info": {"version": "0.11.1"}},
            rf"it runs TorchServe 0\.11\.1, this machine has {version('torchserve')}; install",
        ),
        ({"hello": "world"}, "isn't a TorchServe server; give another address; nothing was changed"),
        ([], "isn't a TorchServe server"),
    ],
)
def test_a_server_with_other_software_is_refused(says: object, why: str, tmp_path: Path) -> None:
    OtherSoftware.says = says
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherSoftware) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            members = parse_servers([f"http://127.0.0.1:{web.server_port}"], tmp_path, drained=False)
            with pytest.raises(InputError, match=why):
                apply_to_fleet(members, tmp_path)
        finally:
            web.shutdown()
            thread.join()


def test_a_server_that_is_down(tmp_path: Path, free_port: int) -> None:
    members = parse_servers([f"http://127.0.0.1:{free_port}"], tmp_path, drained=False)
    with pytest.raises(
        FlyobjError, match=rf"the server at http://127\.0\.0\.1:{free_port} doesn't answer"
    ):
        apply_to_fleet(members, tmp_path)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["ftp://127.0.0.1:8080"], "'ftp://127.0.0.1:8080' isn't a server's address"),
        (["http://127.0.0.1"], "isn't a server's address; give the home"),
        (["http://127.0.0.1:99999"], "isn't a server's address"),
        (["http://127.0.0.1:8080/predictions/a"], "isn't a server's address"),
        (
            ["http://127.0.0.1:8080=nowhere.json"],
            "key file 'nowhere.json' of http://127.0.0.1:8080: no such",
        ),
        (["http://localhost:80", "http://127.0.0.1:80"], "are the same server"),
        (["nowhere"], "no server runs with home 'nowhere'"),
    ],
    ids=["scheme", "no port", "port", "path", "key file", "twice", "home"],
)
def test_names_that_are_no_server(names: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        parse_servers(names, tmp_path, drained=False)


def test_a_file_of_servers(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")
    first = {"url": "http://localhost:9080"}
    second = {"url": "http://10.0.0.5:80", "management": "http://127.0.0.1:9181", "upstream": "b:80"}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps({"servers": [first, {**second, "key_file": "keys.json"}]}))
    store = str(tmp_path.resolve())
    found = read_inventory(path, tmp_path, drained=True)
    assert [(m.name, m.upstream) for m in found] == [
        ("http://localhost:9080", "127.0.0.1:9080"),
        ("http://10.0.0.5:80", "b:80"),
    ]
    assert [m.server for m in found] == [
        RemoteServer("http://127.0.0.1:9080", "http://127.0.0.1:9081", store, None, True),
        RemoteServer("http://10.0.0.5:80", "http://127.0.0.1:9181", store, tmp_path / "keys.json", True),
    ]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"server": []}, r"missing keys \['servers'\], unknown keys \['server'\]"),
        ({"servers": []}, "must be a list of at least one server"),
        (
            {"servers": [{"url": "http://127.0.0.1:80", "port": "1"}]},
            r"server 1: .*unknown keys \['port'\]",
        ),
        ({"servers": [{"url": 5}]}, "server 1: 5 must be text"),
        ({"servers": ["a"]}, "server 1 must be a JSON object"),
        ({"servers": [{"home": "a", "url": "b"}]}, r"unknown keys \['url'\]"),
    ],
)
def test_a_file_that_is_wrong(document: object, why: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=why):
        read_inventory(path, tmp_path, drained=False)


def test_a_server_with_tokens_tells_its_version_too(server: "Home") -> None:
    with server.client() as client:
        assert client.software() == version("torchserve")


def test_a_home_of_another_store(server: "Home", tmp_path: Path) -> None:
    home = str(server.path)
    with pytest.raises(InputError, match=r"give the --model-store that all of them serve"):
        parse_servers([home], tmp_path, drained=False)


def test_a_line_of_servers_keeps_what_the_operator_wrote(tmp_path: Path) -> None:
    """Whether nginx runs or not."""
    two = Balancer(tmp_path, ["a:80", "b:80"], DRAIN_S)
    (tmp_path / SERVERS).write_text("server a:80 weight=2;\n# mine\nserver b:80;\n")
    with two.take_out("a:80"):
        assert (tmp_path / SERVERS).read_text() == "server a:80 weight=2 down;\n# mine\nserver b:80;\n"
    assert (tmp_path / SERVERS).read_text() == "server a:80 weight=2;\n# mine\nserver b:80;\n"
    with pytest.raises(ZeroDivisionError), two.take_out("b:80"):
        raise ZeroDivisionError
    assert "server b:80 down;" in (tmp_path / SERVERS).read_text()
    with pytest.raises(InputError, match=r"doesn't have \['c:80'\]; add a line for each"):
        Balancer(tmp_path, ["a:80", "c:80"], DRAIN_S)


def test_one_server_needs_no_balancer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a balancer needs two servers"):
        Balancer(tmp_path / "proxy", ["a:80"], DRAIN_S)
    assert not (tmp_path / "proxy").exists()


def test_the_limits_are_those_of_all_servers(tmp_path: Path) -> None:
    Balancer(tmp_path, ["a:80", "b:80", "c:80"], DRAIN_S)
    text = (tmp_path / CONF).read_text()
    assert "rate=600r/s;" in text
    assert "burst=600 " in text


def test_a_server_that_is_still_asked_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of nginx doesn't end: its requests aren't answered yet."""
    told: list[bool] = []
    monkeypatch.setattr(balancer, "set_upstream", lambda *_, up: told.append(up) or True)
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as master:
        (tmp_path / "nginx.pid").write_text(str(master.pid))
        changed, two = [], Balancer(tmp_path, ["a:80", "b:80"], 0.3)
        while not (own := workers(tmp_path)):
            time.sleep(0.01)
        said = r"a:80 still had requests after 0\.3 s; it stays out of"
        try:
            with pytest.raises(FlyobjError, match=said), two.take_out("a:80"):
                changed.append("a:80")
        finally:
            own[0].kill()
    assert (told, changed) == ([False], [])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--proxy", "x"], "--proxy is for several servers"),
        (
            ["--server", "a", "--servers", "b"],
            "give either --server, for each server, or --servers FILE",
        ),
        (["--servers", "nowhere.json"], "'nowhere.json' can't be read (No such file"),
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str], why: str, inside: Callable[..., object]
) -> None:
    assert why in str(getattr(inside("models", "apply", *arguments, code=2), "stderr", ""))
