"""What comes from TorchServe's front end to a worker, read as TorchServe reads it."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ts.protocol import otf_message_handler

from handler.front_end import AheadReader, take_bodies_as_they_come
from handler.request_parsing import read_request
from model.errors import TooManyPhotos


def read_plainly(connection: socket.socket, length: int) -> bytearray:
    content = bytearray()
    while len(content) < length:
        content += connection.recv(length - len(content)) or pytest.fail("too little")
    return content


def number(value: int) -> bytes:
    return value.to_bytes(4, signed=True)


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def message(*parts: tuple[bytes, bytes, bytes]) -> bytes:
    """One request of a batch as the front end lays it out: id, headers, parts."""
    headers = text(b"content-type") + text(b"multipart/form-data; boundary=x") + number(-1)
    content = b"".join(text(item) for part in parts for item in part)
    return b"I" + text(b"id") + headers + content + number(-1) + number(-1)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading of this process as a worker's is; put back afterwards."""
    monkeypatch.setenv("TS_DECODE_INPUT_REQUEST", "true")
    monkeypatch.setattr(otf_message_handler, "_retrieve_buffer", otf_message_handler._retrieve_buffer)
    take_bodies_as_they_come()


def test_any_lengths_come_as_they_were_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    front, worker = ends
    lengths = [0, 1, 4, 65_535, 65_536, 3, 200_000, 7, 0, 70_000, 65_537, 2]
    sent = [bytes([i]) * length for i, length in enumerate(lengths)]
    reader = AheadReader(read_plainly)
    thread = threading.Thread(target=front.sendall, args=(b"".join(sent),))
    thread.start()
    received = [reader(worker, length) for length in lengths]
    thread.join()
    assert received == sent
    received[2][0] = 99  # what was handed out is the caller's own
    front.sendall(b"next")
    assert reader(worker, 4) == b"next"


@pytest.mark.usefixtures("protocol")
def test_json_comes_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    front, worker = ends
    front.sendall(message((b"body", b"application/json", b"[{}]"), (b"note", b"text/plain", b"hi")))
    command, (request,) = otf_message_handler.retrieve_msg(worker)
    assert command == b"I"
    assert [part["value"] for part in request["parameters"]] == [b"[{}]", b"hi"]


@pytest.mark.usefixtures("protocol")
def test_a_worker_ends_with_its_front_end(ends: tuple[socket.socket, socket.socket]) -> None:
    front, worker = ends
    front.sendall(b"I\0\0")
    front.close()
    with pytest.raises(SystemExit):
        otf_message_handler.retrieve_msg(worker)


class Counted:
    """A socket that counts how often it asks the system."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain, self.calls = plain, 0

    def recv(self, *args: Any) -> bytes:
        self.calls += 1
        return self.plain.recv(*args)

    def recv_into(self, *args: Any) -> int:
        self.calls += 1
        return self.plain.recv_into(*args)


@pytest.mark.usefixtures("protocol")
def test_the_parts_of_a_form_do_not_cost_much(ends: tuple[socket.socket, socket.socket]) -> None:
    """Not a call of the system for each, and refusing them takes less than reading them."""
    front, worker = ends[0], Counted(ends[1])
    sent = message(*((b"%d" % i, b"", b"") for i in range(100_000)))
    thread = threading.Thread(target=front.sendall, args=(sent,))
    thread.start()
    started = time.thread_time()
    _, (request,) = otf_message_handler.retrieve_msg(worker)
    read_s = time.thread_time() - started
    row = {part["name"]: part["value"] for part in request["parameters"]}
    with pytest.raises(TooManyPhotos, match="100000 fields, 16 photos are allowed"):
        read_request(row, {"content-type": "multipart/form-data"}, 16)
    assert time.thread_time() - started < 2 * read_s
    thread.join()
    assert worker.calls < 1000
