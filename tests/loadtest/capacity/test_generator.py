"""The real load generator against small real servers: one that stalls, one that is mute, none."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from loadtest.capacity.generator import Generator, GeneratorFailed

ANSWER = json.dumps({"predicted": "a", "probabilities": {"a": 0.7, "b": 0.3}}).encode()
STALL_S = 1.0
PHOTO = b"x" * 100_000


class Handler(BaseHTTPRequestHandler):
    """Answers at once, but all wait while `busy` is held."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    busy = threading.Lock()
    answer = ANSWER

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.busy:
            self.send_response(200 if self.headers["Authorization"] == "Bearer token" else 400)
            self.send_header("Content-Length", str(len(self.answer)))
            self.end_headers()
            self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100


@contextmanager
def serve(answer: bytes = ANSWER) -> Iterator[tuple[int, threading.Lock]]:
    """A server's port, and the lock that stalls it."""
    busy = threading.Lock()
    handler = type("Own", (Handler,), {"busy": busy, "answer": answer})
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, busy
        server.shutdown()


def test_a_stall_is_counted_for_everyone_who_came_meanwhile() -> None:
    """A closed loop would have seen one slow answer; here everybody who was due waited."""
    arrivals = [n / 50 for n in range(100)]  # 2 s
    with serve() as (port, busy), Generator(port, "/", [PHOTO], ["a", "b"], 5) as generator:

        def stall() -> None:
            with busy:
                time.sleep(STALL_S)

        timer = threading.Timer(0.5, stall)
        timer.start()
        sent = generator.send(arrivals, "token", 10)
        timer.join()
    assert len(sent.latency_s) == 100
    assert not any(sent.fault)
    waited = [latency for latency in sent.latency_s if latency > STALL_S / 10]
    assert len(waited) >= 0.8 * STALL_S * 50
    assert max(waited) > 0.8 * STALL_S
    assert all(lag < latency for lag, latency in zip(sent.lag_s, sent.latency_s, strict=True))


def test_answers_are_checked() -> None:
    other = ANSWER.replace(b'"b"', b'"c"')
    with serve(other) as (port, _), Generator(port, "/", [PHOTO], ["a", "b"], 5) as generator:
        sent = generator.send([0, 0.01], "token", 10)
        refused = generator.send([0], "another", 10)
    assert sent.fault == ["classes ['a', 'c'], without ['b'] of the photos sent"] * 2
    assert refused.fault == ["status 400"]
    assert (sent.status, refused.status) == ([200, 200], [400])


def test_it_breaks_off_when_too_many_fail() -> None:
    with serve() as (port, _):
        pass  # nobody listens there any more
    with Generator(port, "/", [PHOTO], ["a", "b"], 5) as generator:
        sent = generator.send([n / 100 for n in range(200)], "token", 20)
        everything = generator.send([n / 1000 for n in range(200)], "token", None)
    assert set(sent.fault) == {"ConnectionRefusedError"}
    assert 20 < len(sent.fault) < 50
    assert len(everything.fault) == 200


def test_who_gets_no_answer_has_failed() -> None:
    with serve() as (port, busy), Generator(port, "/", [PHOTO], ["a", "b"], 0.5) as generator:
        with busy:
            sent = generator.send([0, 0.1], "token", 10)
        again = generator.send([0], "token", 10)
    assert len(sent.fault) == 2
    assert all(sent.fault)
    assert again.fault == [None]


def test_a_generator_that_ended_is_noticed() -> None:
    with serve() as (port, _), Generator(port, "/", [PHOTO], ["a", "b"], 5) as generator:
        psutil.Process(generator.pid).kill()
        with pytest.raises(GeneratorFailed, match="ended \\(-9\\)"):
            generator.send([0], "token", 10)
        with pytest.raises(GeneratorFailed, match="ended \\(-9\\)"):  # nor does it take another order
            generator.send([0], "token", 10)
