"""The token as TorchServe writes it, renews it, and half writes it."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from loadtest import tokens
from loadtest.tokens import KeyFile, authorization, is_refused


def write(path: Path, key: str) -> None:
    path.write_text(json.dumps({"inference": {"key": key}}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "key_file.json"
    write(file, "first")
    return file


def test_a_refused_token_is_replaced_by_the_files_new_one(path: Path) -> None:
    keys = KeyFile(path)
    assert keys.token() == "first"
    write(path, "second")
    assert keys.token() == "first"  # not read for each request
    assert keys.instead_of("first") == "second"
    assert keys.token() == "second"
    assert keys.instead_of("first") == "second"  # another user was refused at the same time


def test_the_new_token_may_come_a_moment_later(path: Path) -> None:
    keys = KeyFile(path)
    path.write_text("{")  # half written
    timer = threading.Timer(0.2, write, (path, "second"))
    timer.start()
    assert keys.instead_of("first") == "second"
    timer.join()


def test_a_server_may_need_none() -> None:
    keys = KeyFile(None)
    assert keys.token() == ""
    assert keys.instead_of("") is None
    assert authorization("") == {}
    assert authorization("a") == {"Authorization": "Bearer a"}


def test_a_home_nobody_named_gives_its_token_to_its_own_server_alone(path: Path) -> None:
    command = [sys.executable, "-c", "input(1)", f"{path.parent}/config.properties"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(1)  # it runs, and the system knows its command
        check_hosts(path, {"pid": process.pid, "home": str(path.parent), "port": 8080})
        process.communicate(b"\n")
    write(path, "second")  # of a server that was started again, on another port
    assert KeyFile(path).token() == "second"  # who names a file has asked for it


def check_hosts(path: Path, record: dict[str, object]) -> None:
    for wrong in ({}, {"port": 8081}, {"pid": 1}, {"home": "/else"}):
        path.with_name("server.json").write_text(json.dumps(record | wrong))
        if not wrong:
            keys = KeyFile(path, "http://127.0.0.1:8080")
            assert keys.token() == KeyFile(path, "http://localhost:8080").token() == "first"
        for host in ("http://127.0.0.1:8080", "http://127.0.0.1:8090", "http://10.0.0.1:8080")[
            not wrong :
        ]:
            with pytest.raises(ValueError, match=f"isn't of a server at {host}; give --key-file"):
                KeyFile(path, host)
    write(path, "second")  # of a server that was started again, on another port
    assert keys.instead_of("first") is None


def test_nobody_renews(path: Path) -> None:
    assert KeyFile(path).instead_of("first") is None


def test_the_file_is_looked_at_from_time_to_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile(path)
    write(path, "second")
    monkeypatch.setattr(tokens, "AGE_S", 0.0)
    assert keys.token() == "second"
    path.unlink()
    assert keys.token() == "second"  # the server has gone; its refusals will tell


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"inference": {}}'])
def test_a_file_without_a_token_is_named(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ValueError, match=r"key_file\.json.*--key-file"):
        KeyFile(path)


def test_only_torchserves_own_refusal_is_one() -> None:
    assert is_refused(400, '{"code": 400, "type": "InvalidKeyException", "message": "..."}')
    assert not is_refused(400, '{"code": 400, "type": "UnreadableImage", "message": "..."}')
    assert not is_refused(400, None)
    assert not is_refused(200, '{"type": "InvalidKeyException"}')
