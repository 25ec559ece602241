"""The page's parts without a browser: HTML, CSV, and what is said when there is no server."""

import asyncio
import base64
import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from serving.page import show
from serving.page.backend import Answer, Backend, Failure, State
from serving.page.guard import Guard

if TYPE_CHECKING:
    from tests.conftest import FlyObj, Home

SURE = Answer("1.0", "bird", [("bird", 0.97), ("drone", 0.03)], 12.0, {"decode": 2.0, "inference": 7.0})
OTHER = Answer("2.0", "drone", [("drone", 0.6), ("bird", 0.4)], 9.0, {})
UNSURE = Answer("2.0", "unknown", [("bird", 0.41), ("drone", 0.59)][::-1], 9.0, {})
BAD = Failure("1.0", "cut short (HTTP 400)", of_photo=True)
AWAY = Failure(None, "nobody is there", of_photo=False)


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_one_version_answers_in_a_sentence() -> None:
    assert text(show.verdict([SURE])) == "bird 97.0 %"


def test_two_versions_that_agree_or_do_not() -> None:
    assert text(show.verdict([SURE, OTHER])).startswith("The versions disagree 1.0 says bird 97.0 % 2.0")
    assert "disagree" not in show.verdict([SURE, SURE])


def test_unknown_says_what_came_closest() -> None:
    said = text(show.verdict([UNSURE]))
    assert said == "unknown no class fits well enough; the nearest is drone with 59.0 %"


def test_a_failure_of_the_photo_and_one_of_the_server_are_told_apart() -> None:
    assert "This photo can't be answered: cut short" in text(show.verdict([BAD]))
    away = text(show.verdict([AWAY]))
    assert away.startswith("The server didn't answer. nobody is there. The photo will be asked about")


def test_times_are_split() -> None:
    shown = text(show.cards([SURE, OTHER]))
    assert "12 ms 9.0 ms in the server's worker: decode 2.0, inference 7.0 3.0 ms on the" in shown
    assert "9 ms Version" not in shown
    assert shown.endswith("9 ms")  # an archive that doesn't say


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (1.0, "100.0 %"),
        (0.9999, "&gt; 99.9 %"),
        (0.9994, "99.9 %"),
        (0.0004, "&lt; 0.1 %"),
        (0.0, "0.0 %"),
    ],
)
def test_only_what_is_certain_is_shown_as_certain(probability: float, shown: str) -> None:
    answer = Answer("1.0", "a", [("a", probability)], 1.0, {})
    assert f'<span class="soft">{shown}</span>' in show.verdict([answer])


def test_names_are_escaped(jpeg: Callable[..., bytes]) -> None:
    evil = "<img src=x onerror=alert(1)>"
    answer = Answer("1.0", evil, [(evil, 1.0)], 1.0, {})
    rows = [show.row(evil, jpeg(), [answer])]
    for html in (show.verdict([answer]), show.cards([answer]), show.table(rows)):
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html


def test_the_photo_beside_where_each_version_looked(jpeg: Callable[..., bytes]) -> None:
    photo = jpeg(width=64, height=48)
    heat = {"1.0": np.array([[0, 1]], np.float32), "2.0": None}
    html = show.pictures(photo, ["1.0", "2.0"], heat)
    assert html.count("<figure>") == 3
    assert len(re.findall(r'<img src="data:image/jpeg[^"]+" width="448" height="336"', html)) == 2
    assert "This version doesn't say where it looked" in text(html)
    assert show.pictures(photo, ["1.0"], {}).count("looking …") == 1
    assert show.pictures(b"words", ["1.0"], {}) == ""


def test_several_photos_as_a_table_and_as_csv(jpeg: Callable[..., bytes]) -> None:
    rows = [
        show.row("a.jpg", jpeg(), [SURE, OTHER]),
        show.row('odd, "name".jpg', b"words", [BAD, Failure("2.0", "cut short", of_photo=True)]),
    ]
    html = show.table(rows)
    assert "2 photos, the versions disagree on 1." in text(html)
    assert html.count('class="differs"') == 1
    link = re.search(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', html)
    assert link
    saved = base64.b64decode(link[1]).decode()
    assert saved == show.as_csv(rows)
    first, second, bad, _ = list(csv.DictReader(io.StringIO(saved)))
    assert first == {
        "photo": "a.jpg",
        "version": "1.0",
        "predicted": "bird",
        "confidence": "0.97",
        "took_ms": "12.0",
        "error": "",
        "bird": "0.97",
        "drone": "0.03",
    }
    assert (second["version"], second["predicted"], second["drone"]) == ("2.0", "drone", "0.6")
    assert (bad["photo"], bad["predicted"]) == ('odd, "name".jpg', "")
    assert bad["error"] == "cut short (HTTP 400)"


def test_no_photos_are_no_table() -> None:
    assert show.table([]) == ""


def test_no_server_is_said_with_the_remedy(tmp_path: Path) -> None:
    backend = Backend(tmp_path / "none")
    problem = backend.state().problem
    assert problem
    assert f"flyobj serve --detach --home {tmp_path / 'none'}" in problem
    assert problem in text(show.state(State(problem=problem)))
    reply = backend.ask(b"photo", None)
    assert isinstance(reply, Failure)
    assert not reply.of_photo
    assert backend.heatmap(b"photo", "1.0") is None
    assert backend.examples("1.0") == ()


def test_a_server_answers_with_times_and_shows_where_it_looked(
    server: "Home", photos: list[bytes]
) -> None:
    backend = Backend(server.path)
    try:
        assert backend.state() == State(("1.0",), "1.0", None)
        reply = backend.ask(photos[0], "1.0")
        assert isinstance(reply, Answer)
        assert 0 < sum(reply.worker_ms.values()) < reply.took_ms
        assert [p for _, p in reply.probabilities] == sorted(dict(reply.probabilities).values())[::-1]
        heat = backend.heatmap(photos[0], "1.0")
        assert heat is not None
        assert heat.shape == (2, 2)
        assert len(backend.examples("1.0")) > 1
        gone = backend.ask(photos[0], "7.0")
        assert isinstance(gone, Failure)
        assert "flyobj models list" in gone.message
        bad = backend.ask(b"words", "1.0")
        assert isinstance(bad, Failure)
        assert bad.of_photo
        big = backend.ask(bytes(22 * 2**20), "1.0")
        assert isinstance(big, Failure)
        assert big.message.startswith("the file is larger than the server takes")
    finally:
        backend.close()


def test_without_gradio_the_remedy_is_named(tmp_path: Path, free_port: int, server: "Home") -> None:
    (tmp_path / "gradio.py").write_text("raise ImportError(\"No module named 'gradio'\")")
    command = [sys.executable, "-m", "cli", "page", "--port", str(free_port)]
    command += ["--home", str(server.path)]  # there may be other tests' servers
    world = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, env=world, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 2
    assert "the page needs gradio (No module named 'gradio'): pip install gradio" in done.stderr


def test_a_port_that_is_taken(inside: "FlyObj", server: "Home") -> None:
    page = ("page", "--home", server.path, "--port")
    said = inside(*page, server.port, code=2).stderr
    assert f"port {server.port} (for the page) is in use" in said
    assert "port 80 must be from 1024" in inside(*page, 80, code=2).stderr


@pytest.mark.parametrize(
    ("origin", "closed"), [("http://evil.example", True), ("http://localhost:1", False)]
)
def test_a_socket_of_another_page_is_closed(origin: str, closed: bool) -> None:
    sent, let_through = list[Any](), list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive, send
        let_through.append(scope["type"])

    async def receive() -> Any:
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost:1"), (b"origin", origin.encode())]
    scope = {"type": "websocket", "path": "/", "headers": headers}
    asyncio.run(Guard(app)(scope, receive, send))
    assert sent == ([{"type": "websocket.close", "code": 1008}] if closed else [])
    assert let_through == ([] if closed else ["websocket"])


def test_examples_are_of_versions_that_are_there(server: "Home") -> None:
    with closing(Backend(server.path)) as backend:
        assert [golden.label for golden in backend.examples("1.0")]
        assert backend.examples("9.9") == ()
