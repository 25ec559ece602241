"""One server, started in a hostile environment and worked on from other ones; nobody loses a request.

The proxies, the locale, the variables and the folders are those of machines that people really have.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil
import pytest
from PIL import Image

from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.corpus import encode
from model.errors import FlyobjError, InputError
from serving.rollout import health
from serving.server import launch, lifecycle
from serving.server.client import Client, ServerError
from serving.server.connection import NoAnswer
from serving.server.remote_server import RemoteServer
from serving.server.versions import list_versions
from tests.helpers.servers import Home

if TYPE_CHECKING:
    from tests.helpers.servers import MakeHome

FLYOBJ = str(Path(sys.executable).with_name("flyobj"))
LONG_REQUESTS = 12


class Listener(BaseHTTPRequestHandler):
    """Somebody else's program: notes whatever reaches it, and sends people on to where it is told."""

    heard: ClassVar[list[str]] = []
    location: ClassVar[str] = ""

    def do_POST(self) -> None:
        self.heard.append(f"{self.requestline} {self.headers}")
        self.send_response(307 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # whatever the method
            return self.do_POST
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(location: str = "", port: int = 0) -> Iterator[tuple[int, list[str]]]:
    handler = type("OneListener", (Listener,), {"heard": [], "location": location})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, handler.heard
        server.shutdown()


def run(*args: object, code: int = 0, **world: str) -> subprocess.CompletedProcess[str]:
    """Run `flyobj` in an environment that differs from this one by `world`."""
    environment = {**os.environ, **world}
    done = subprocess.run([FLYOBJ, *map(str, args)], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[dict[str, str], list[str]]]:
    """The variables of a machine with a proxy, and what that one gets to hear."""
    with listening() as (port, heard):
        names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        yield dict.fromkeys(names, f"http://127.0.0.1:{port}") | {"NO_PROXY": "[::1]"}, heard


@pytest.fixture(scope="module")
def home(
    new_home: "MakeHome",
    proxy: tuple[dict[str, str], list[str]],
    archive_path: Path,
    repack: Callable[..., Path],
) -> Home:
    """A server with a deployed version, started from a shell in which little is as it should be."""
    home = new_home("Flugobjekte-\N{LATIN SMALL LETTER U WITH DIAERESIS}")
    places = ("--home", home.path, "--model-store", home.store)
    foreign = {"TS_CONFIG_FILE": str(launch.stock_file("config.properties")), "LOCAL_RANK": "1"}
    foreign |= {"TS_DISABLE_TOKEN_AUTHORIZATION": "true", "LOG_LOCATION": "/proc", "TEMP": "/nowhere"}
    foreign |= {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONWARNINGS": "error::ImportWarning"}
    foreign |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    long = home.path.parent / ("x" * 120)  # for a TMPDIR, no socket could be in it
    long.mkdir()
    run("serve", "--detach", "--port", home.port, *places, **foreign, **proxy[0], TMPDIR=str(long))
    patient = {"model-config.yaml": lambda text: text.replace("max_cpu_s: 1.5 ", "max_cpu_s: 30 ")}
    archive = repack(home.path.parent / archive_path.name, patient)  # for `long_requests`
    run("models", "deploy", archive, "--workers", 3, "--home", home.path, **proxy[0])
    assert list(long.iterdir()) == []
    return home


def test_what_the_server_has_is_its_own(home: Home, proxy: tuple[dict[str, str], list[str]]) -> None:
    server = lifecycle.require(home.path)
    assert server.tokens
    assert server.scratch_folder == home.path / "scratch"
    assert server.scratch_folder.stat().st_mode & 0o777 == 0o700
    java = psutil.Process(server.pid)
    for process in (java, *java.children()):
        variables = process.environ()
        assert variables["TMPDIR"] == variables["TEMP"] == str(server.scratch_folder)
        assert variables["LC_ALL"] == "C.UTF-8"
        assert not {"LOCAL_RANK", "TS_CONFIG_FILE", "PYTHONWARNINGS"} & set(variables)
        assert str(Path(__file__).parents[3]) not in variables.get("PYTHONPATH", "")
    assert (home.path / "logs" / "workers.log").is_file()
    with (
        pytest.raises(InputError, match="a server runs with home"),
        launch.locked(home.path, alone=True),
    ):
        pass  # what systemd-tmpfiles tries before it sweeps a folder
    assert proxy[1] == []


def test_no_command_uses_a_proxy(
    home: Home, dataset: Path, proxy: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    """Nor fails for one that it couldn't use; nor for a name that can't be printed."""
    place = ("--home", home.path)
    photo = tmp_path / "\N{LATIN SMALL LETTER O WITH DIAERESIS}.jpg"
    photo.write_bytes(next((dataset / "test").rglob("*.jpg")).read_bytes())
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    said = run("predict", photo, *place, "--json", **proxy[0], **ascii_only).stdout
    assert json.loads(said)[0]["photo"] == str(photo)
    assert "\\xf6.jpg" in run("predict", photo, *place, **ascii_only, COLUMNS="300").stdout
    run("loadtest", *place, "--", "-u", 1, "-t", "1s", **proxy[0])
    run("status", "--ready", *place, **{**proxy[0], "all_proxy": "socks5://127.0.0.1:9"})
    assert proxy[1] == []


def test_nobody_else_gets_a_token(home: Home, photos: list[bytes], tmp_path: Path) -> None:
    path = home.path / "server.json"
    record = path.read_text()
    server = lifecycle.require(home.path)
    with home.client() as client:
        real = client.tokens.get("inference")
    with listening() as (other, heard):
        # Of a server that was started again elsewhere, while another program has its port.
        with (
            Client(replace(server, port=other)) as client,
            pytest.raises(NoAnswer, match=f"it is on port {home.port} now"),
        ):
            client.predict(photos[0])
        path.write_text(json.dumps({**json.loads(record), "port": other}))
        try:
            with (
                Client(lifecycle.require(home.path)) as client,
                pytest.raises(NoAnswer, match=rf"pid {server.pid} doesn't listen on \[{other}, "),
            ):
                client.predict(photos[0])
        finally:
            path.write_text(record)
        assert heard == []
        with listening(location=f"http://127.0.0.1:{other}/") as (redirecting, first):
            address = f"http://127.0.0.1:{redirecting}"
            with (
                Client(RemoteServer(address, address), token=real) as client,
                pytest.raises(ServerError, match="sends us on to another address"),
            ):
                client.predict(photos[0])
            words = ("--headless", "-u", "1", "-t", "1s", "--key-file", str(home.path / "key_file.json"))
            locustfile = str(launch.stock_file("loadtest/locustfile.py"))
            command = [FLYOBJ.replace("flyobj", "locust"), "-f", locustfile, "--host", address, *words]
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            assert "isn't ready: status 307" in done.stderr
            assert real in first[0]  # the address that was named
        assert heard == []


def test_scaling_from_another_environment_loses_nothing(
    home: Home, photos: list[bytes], proxy: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    """Of an older version's server too, whose server.json doesn't say where its folder is."""
    path = home.path / "server.json"
    record = path.read_text()
    world = {**proxy[0], "TMPDIR": str(tmp_path), "LC_ALL": "C"}
    with home.client() as client, ContinuousLoad(client, photos[0], 4, "1.0") as load:
        run("models", "scale", "1.0", 2, "--home", home.path, **world)
        old = json.loads(record)
        del old["scratch"]
        old["started"] -= 3600  # and the clock was set meanwhile
        path.write_text(json.dumps(old))
        run("models", "scale", "1.0", 1, "--home", home.path, **world)
        path.write_text(record)
        until = time.monotonic() + 60  # a slow machine has answered few until now
        while load.tally().requests <= 50 and time.monotonic() < until:
            time.sleep(0.1)
    tally = load.tally()
    assert (tally.failed, set(tally.statuses)) == (0, {200})
    assert tally.requests > 50
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["pid file", "weights"])
def test_a_swept_folder_is_noticed(home: Home, what: str) -> None:
    scratch = lifecycle.require(home.path).scratch_folder
    name = {"pid file": launch.PID_FILE, "weights": "weights.safetensors"}[what]
    file = next(scratch.rglob(name))
    away = file.rename(home.path / name)
    assert f"{str(file)!r} was removed from the server's temporary folder" in str(
        health.why_not_ready(home.path)
    )
    away.rename(file)
    assert health.why_not_ready(home.path) is None


@contextmanager
def long_requests(home: Home) -> Iterator[None]:
    """Have requests under way while a block runs, each of which must be answered."""
    photo = encode(Image.new("RGB", (3000, 3000)), "PNG")  # takes long
    with home.client() as client, ThreadPoolExecutor(LONG_REQUESTS) as pool:
        answers = [pool.submit(client.ask, photo, None, True) for _ in range(LONG_REQUESTS)]
        until = time.monotonic() + 30
        while not sum(v.waiting for v in list_versions(client)):
            assert time.monotonic() < until
        yield
        assert all(answer.result().answer["explanation"] for answer in answers)


def test_stopping_from_another_environment_loses_nothing(
    home: Home, proxy: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    with long_requests(home):
        said = run("stop", "--home", home.path, **proxy[0], TMPDIR=str(tmp_path), PYTHONUTF8="0")
    assert said.stdout == "stopped\n"
    assert {p.name for p in home.path.iterdir()} == {"config.properties", "example.jpg", "logs"}


def test_a_closed_terminal_ends_it_like_sigterm(home: Home) -> None:
    """The system and the shell both say so, and the first one counts."""
    places = ("--home", home.path, "--model-store", home.store, "--port", home.port)
    with subprocess.Popen(
        [FLYOBJ, "serve", *map(str, places)],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    ) as process:
        assert process.stdout is not None
        assert b"serving flying_objects 1.0" in process.stdout.readline()
        with long_requests(home):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
            process.send_signal(signal.SIGHUP)
            assert process.wait(60) == 0
    assert lifecycle.find(home.path) is None


def test_a_stop_that_could_not_wait_says_so(home: Home) -> None:
    """Without a server.json that can be read it still ends the server."""
    java = psutil.Process(home.start().pid)
    (home.path / "server.json").write_text("{")
    assert "server.json' can't be read as JSON" in run("status", "--home", home.path, code=2).stderr
    said = run("stop", "--home", home.path, code=1)
    assert "stopped" in said.stdout
    assert "requests may have been cut off: " in said.stderr
    assert not java.is_running()
    assert {p.name for p in home.path.iterdir()} == {"config.properties", "example.jpg", "logs"}


def test_sockets_that_would_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / ("x" * 100)
    home.mkdir()
    place = launch.make_scratch(home)
    assert place.parent == Path(launch.tempfile.gettempdir())
    assert place.stat().st_mode & 0o777 == 0o700
    assert list(home.iterdir()) == []
    launch.remove_scratch(place)
    assert not place.exists()
    monkeypatch.setattr(launch.tempfile, "tempdir", str(home))
    with pytest.raises(InputError, match="at most 107 bytes; give a shorter --home"):
        launch.make_scratch(home)
    assert list(home.iterdir()) == []


def test_a_folder_that_is_there_already(tmp_path: Path) -> None:
    """What a server that was killed has left is removed, what one that runs has isn't."""
    left = launch.make_scratch(tmp_path) / "left"
    left.touch()
    with launch.locked(tmp_path), pytest.raises(InputError, match="a server runs with home"):
        launch.make_scratch(tmp_path)
    assert left.exists()
    assert list(launch.make_scratch(tmp_path).iterdir()) == []


def test_a_home_that_cannot_be_written(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FlyobjError, match=r"file.* can't be written \(Not a directory\); give another"):
        lifecycle.start(tmp_path / "file" / "home", free_port, tmp_path / "store")
