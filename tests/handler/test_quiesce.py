"""A worker that holds still on request."""

import http.client
import os
import socket
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest

from handler.quiesce import HEADER, hold
from serving.rollout import quiesce as asking
from serving.server.client import Client
from serving.server.remote_server import RemoteServer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the one who asks makes; its name goes into the header."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"flyobj-pause-{uuid.uuid4().hex}"


def name(folder: Path) -> str:
    return folder.name.rpartition("-")[2]


def test_it_holds_until_the_folder_is_gone(folder: Path) -> None:
    folder.mkdir()
    thread = threading.Thread(target=hold, args=({HEADER.title(): name(folder)},))
    thread.start()
    until = time.monotonic() + 30
    while not (folder / str(os.getpid())).exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert thread.is_alive()
    folder.rename(folder.with_name("over"))
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("value", ["", "x", "../../etc", "0" * 31, "G" * 32, "0" * 32 + "/x", None])
def test_other_headers_hold_nothing(folder: Path, value: str | None) -> None:
    folder.mkdir()
    (folder.parent / "flyobj-pause-x").mkdir()  # there as it is, its name is none that we give
    hold({} if value is None else {HEADER: value})
    assert [path for path in folder.parent.rglob("*") if not path.is_dir()] == []


def test_a_folder_that_is_gone_holds_nothing(folder: Path) -> None:
    hold({HEADER: name(folder)})
    assert not folder.exists()


def test_it_resumes_by_itself_after_ten_seconds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if whoever asked for the pause is gone."""
    folder.mkdir()
    clock = iter((100.0, 109.9, 110.1))
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        hold({HEADER: name(folder)})
    assert list(clock) == []
    assert (folder / str(os.getpid())).exists()


def test_both_sides_use_one_header() -> None:
    assert asking.HEADER.lower() == HEADER


def test_descriptions_that_were_answered_are_not_waited_for(tmp_path: Path) -> None:
    """More in the queue than these would be somebody's request, which mustn't be lost."""
    pairs = [socket.socketpair() for _ in range(3)]
    calls = [http.client.HTTPConnection("127.0.0.1") for _ in pairs]
    for call, (ours, _) in zip(calls, pairs, strict=True):
        call.sock = ours
    server = RemoteServer("http://127.0.0.1:1", "http://127.0.0.1:2", str(tmp_path))
    with ExitStack() as stack, Client(server) as client:
        for pair in pairs:
            for one in pair:
                stack.enter_context(one)
        pause = asking.WorkerHold(client, "1.0", tuple(calls))
        assert pause.unanswered() == 3
        pairs[1][1].send(b"HTTP/1.1 200 OK")
        assert pause.unanswered() == 2
