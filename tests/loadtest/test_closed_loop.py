"""Load and what it is checked for, against a small real server."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest

from loadtest.closed_loop import ClosedLoop, Endpoint, ExpectedAnswer, best, put_load

RIGHT = ExpectedAnswer(frozenset({"bird"}), 0.9)


class Echo(BaseHTTPRequestHandler):
    """Answers with the body; an empty one with 503, one with an old token with 400."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer on a kept connection takes 40 ms

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        old = self.headers["Authorization"] == "Bearer old"
        self.send_response(400 if old else 200 if body else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def echo() -> Iterator[Endpoint]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Endpoint(server.server_port, "/")
    server.shutdown()
    thread.join()
    server.server_close()


def answer(name: str, confidence: float) -> bytes:
    return json.dumps({"predicted": name, "confidence": confidence}).encode()


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (answer("bird", 0.9), None),
        (answer("bird", 0.7), "'bird' (0.700), not ['bird'] (0.900)"),
        (answer("plane", 0.9), "'plane'"),
        (b"", "HTTP 503"),
        (b"no JSON", "JSONDecodeError"),
        (b"[]", "ValueError"),
        (b"3", "TypeError"),
    ],
)
def test_every_answer_is_checked(echo: Endpoint, body: bytes, wrong: str | None) -> None:
    load = put_load(echo, [(body, RIGHT)], clients=2, seconds=0.1)
    assert load.seconds >= 0.1
    if wrong is None:
        assert load.latencies_s
        assert not load.faults
    else:
        assert not load.latencies_s
        assert wrong in load.faults[0]


def test_a_summary_divides_by_the_answers(echo: Endpoint) -> None:
    load = put_load(echo, [(answer("bird", 0.9), RIGHT)], clients=3, seconds=0.1)
    summary = load.summary(cpu_s=2.0)
    n = len(load.latencies_s)
    assert (summary["answers"], summary["errors"]) == (n, 0)
    assert summary["cpu_ms"] == pytest.approx(2000 / n, abs=0.01)
    assert summary["per_s"] == pytest.approx(n / load.seconds, abs=0.1)
    assert summary["p50_ms"] <= summary["p99_ms"]


def test_a_server_that_is_gone_leaves_errors_and_no_division_by_zero(free_port: int) -> None:
    load = put_load(Endpoint(free_port, "/"), [(b"x", RIGHT)], clients=1, seconds=0.1)
    assert load.summary(cpu_s=0.0)["errors"] >= 1


def test_a_renewed_token_is_read_again_and_only_the_second_answer_counts(echo: Endpoint) -> None:
    tokens = iter(["old", "new"])
    endpoint = replace(echo, headers=lambda: {"Authorization": f"Bearer {next(tokens)}"})
    with ClosedLoop(endpoint, [(b"photo", bytes.decode)], clients=1, think_s=0.01) as loop:
        time.sleep(0.3)
    assert {(answer.status, answer.note) for answer in loop.answers} == {(200, "photo")}
    assert all(first.answered <= next_.sent for first, next_ in pairwise(loop.answers))
    assert 2 <= len(loop.answers) <= 30  # it thinks between them


def test_who_is_not_answered_in_time_is_told_from_who_is_cut_off(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):  # takes connections, and says nothing
        endpoint = Endpoint(free_port, "/", timeout_s=0.1)
        with ClosedLoop(endpoint, [(b"photo", bytes.decode)], clients=1) as mute:
            time.sleep(0.2)
    with ClosedLoop(endpoint, [(b"photo", bytes.decode)], clients=1) as gone:
        time.sleep(0.1)
    assert {answer.status for answer in mute.answers} == {-1}
    assert {answer.status for answer in gone.answers} == {0}


@pytest.mark.parametrize(
    "body",
    [
        {"predicted": "b", "confidence": 0.75},
        [{"predicted": "b", "confidence": 0.75}],
        {"a": 0.25, "b": 0.75},
        {"outputs": [{"data": [json.dumps({"predicted": "b", "confidence": 0.75})]}]},
    ],
)
def test_each_servers_way_to_answer_is_understood(body: Any) -> None:
    assert best(body) == ("b", 0.75)
