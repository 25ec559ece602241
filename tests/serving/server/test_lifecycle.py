"""The life of a real TorchServe: started once, found again, ended whole."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from model.errors import FlyobjError, InputError
from serving.server import launch, lifecycle
from serving.server.lifecycle import Server
from serving.stock import stock_file
from tests.helpers.servers import stand_in

if TYPE_CHECKING:
    from tests.conftest import Home


def test_start_and_stop_leave_nothing(new_home: Callable[[str], "Home"], tmp_path: Path) -> None:
    home = new_home("life")
    started = home.start()
    assert lifecycle.find(home.path) == lifecycle.require(home.path) == started
    assert (started.port, started.home) == (home.port, str(home.path))
    ping = httpx.get(f"http://127.0.0.1:{home.port}/ping", headers=home.headers())
    assert ping.json() == {"status": "Healthy"}
    assert (home.path / "key_file.json").stat().st_mode & 0o777 == 0o600
    java = psutil.Process(started.pid)
    assert {"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"} <= set(java.cmdline())  # config.properties
    family = [java, *java.children(recursive=True)]
    memory = lifecycle.memory_mib(started)
    assert f"java {started.pid}" in memory
    assert all(20 < size < 10_000 for size in memory.values())

    with pytest.raises(InputError, match=rf"runs already \(pid {started.pid}, port {home.port}\)"):
        lifecycle.start(home.path, home.port + 10, tmp_path)
    theirs = rf"home' has ports {home.port} to {home.port + 4}; stop it with"
    with pytest.raises(InputError, match=theirs):
        lifecycle.start(tmp_path / "other", home.port, tmp_path / "store")

    scratch = started.scratch_folder
    assert scratch.is_dir()
    assert home.stop() is True
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert lifecycle.find(home.path) is None
    assert not scratch.exists()
    assert {p.name for p in home.path.iterdir()} == {"config.properties", "logs"}
    assert home.stop() is False


@pytest.mark.usefixtures("torchserve")
def test_a_server_that_does_not_start_says_its_last_words(tmp_path: Path, free_port: int) -> None:
    config = tmp_path / "config.properties"
    config.write_text(stock_file("config.properties").read_text() + "\nvmargs=-XX:+NoSuchOption\n")
    with pytest.raises(FlyobjError, match=r"(?s)TorchServe .*Unrecognized VM option 'NoSuchOption'"):
        lifecycle.start(tmp_path / "home", free_port, tmp_path / "store", config)
    assert not (tmp_path / "home" / "server.json").exists()


def test_a_server_that_ends_by_itself_says_its_last_words(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_MINUTE_S", 0.05)
    with stand_in(tmp_path / "home", free_port) as process:
        server = lifecycle.require(tmp_path / "home")
        (tmp_path / "home" / "logs").mkdir()
        (tmp_path / "home" / "logs" / "server.log").write_text("first\n" * 20 + "out of memory\n")
        minutes = iter(range(3))

        def each_minute() -> None:
            if next(minutes) == 2:
                process.kill()
                process.wait()

        with pytest.raises(FlyobjError, match="the server ended by itself:\n") as ended:
            lifecycle.wait(server, each_minute)
        assert str(ended.value).splitlines()[1:] == ["first"] * 9 + ["out of memory"]


@pytest.mark.parametrize("use", ["inference", "management", "gRPC management"])
def test_a_port_in_use_names_its_program(tmp_path: Path, free_port: int, use: str) -> None:
    port = free_port + {"inference": 0, "management": 1, "gRPC management": 4}[use]
    me = psutil.Process()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        message = rf"port {port} \(for {use}\) is in use by '{me.name()}' \(pid {os.getpid()}\); stop"
        with pytest.raises(InputError, match=message):
            lifecycle.start(tmp_path / "home", free_port, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("port", [0, 80, 65_001, 70_000])
def test_a_port_that_cannot_be_used(tmp_path: Path, port: int) -> None:
    with pytest.raises(InputError, match=f"port {port} must be from 1024 to 65000"):
        lifecycle.start(tmp_path / "home", port, tmp_path / "store")


def write(home: Path, server: Server) -> None:
    (home / "server.json").write_text(json.dumps(asdict(server)))


def test_a_server_that_has_ended_is_not_found(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
        process.communicate(b"\n")
    write(tmp_path, Server(process.pid, started, 8080, "store", str(tmp_path)))
    assert lifecycle.find(tmp_path) is None


def test_another_process_of_that_pid_is_not_found_nor_stopped(tmp_path: Path) -> None:
    write(tmp_path, Server(os.getpid(), psutil.Process().create_time(), 8080, "s", str(tmp_path)))
    assert lifecycle.find(tmp_path) is None
    assert lifecycle.stop(tmp_path) is False  # and this test goes on
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_folder_is_the_servers_not_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")
    for name, left in (("flyobj-x", []), ("mine", ["mine"])):  # only what we have made is removed
        recorded = Server(1, 0.0, 8080, "store", str(tmp_path), scratch=str(tmp_path / name))
        assert recorded.scratch_folder == tmp_path / name
        recorded.scratch_folder.mkdir()
        write(tmp_path, recorded)
        assert lifecycle.stop(tmp_path) is False
        assert [p.name for p in tmp_path.iterdir()] == left


def test_a_server_json_of_before_is_read(tmp_path: Path) -> None:
    process = psutil.Process()
    place = {"pid": process.pid, "started": process.create_time(), "port": 1, "model_store": "s"}
    (tmp_path / "server.json").write_text(json.dumps({**place, "home": str(tmp_path)}))
    assert lifecycle.find(tmp_path) is None  # read, and no server
    (tmp_path / "server.json").write_text(json.dumps({**place, "home": str(tmp_path), "more": 1}))
    assert lifecycle.find(tmp_path) is None  # a later version's too


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "1"}', "\xff"])
def test_a_damaged_server_json_says_how_to_end_its_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"server\.json'.*; `flyobj stop --home .*` ends its server"):
        lifecycle.find(tmp_path)
    assert lifecycle.stop(tmp_path) is False
    assert list(tmp_path.iterdir()) == []


def test_nothing_runs_in_an_empty_home(tmp_path: Path) -> None:
    assert lifecycle.find(tmp_path) is None
    with pytest.raises(InputError, match=r"no server runs with home .*flyobj serve --detach --home"):
        lifecycle.require(tmp_path)


def test_the_servers_configuration_is_the_checkouts_with_its_own_ports() -> None:
    text = stock_file("config.properties").read_text()
    pairs = [line.split("=", 1) for line in launch.configuration(9000, text, tokens=True) if "=" in line]
    settings = dict(pairs)
    assert len(settings) == len(pairs)
    for key, value in (line.split("=", 1) for line in text.splitlines() if line and line[0] != "#"):
        assert key in settings
        if "address" not in key and "port" not in key and key != "metrics_config":
            assert settings[key] == value
    assert settings["inference_address"] == "http://127.0.0.1:9000"
    assert settings["management_address"] == "http://127.0.0.1:9001"
    assert settings["metrics_address"] == "http://127.0.0.1:9002"
    assert (settings["grpc_inference_port"], settings["grpc_management_port"]) == ("9003", "9004")
    assert Path(settings["metrics_config"]).is_file()


def test_the_callers_pythonpath_does_not_reach_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/checkout")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    environment = launch.server_environment(tmp_path, tmp_path / "scratch")
    assert "PYTHONPATH" not in environment
    assert (Path(environment["JAVA_HOME"]) / "bin" / "java").is_file()
    monkeypatch.setenv("JAVA_HOME", "/my/java")
    assert launch.server_environment(tmp_path, tmp_path / "scratch")["JAVA_HOME"] == "/my/java"
