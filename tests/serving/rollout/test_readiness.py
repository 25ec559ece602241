"""A version that doesn't come up: what is called to take it back, and what isn't."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serving.archive.build import Archive, read_archive
from serving.rollout.deployment import DeployedVersion
from serving.rollout.readiness import bring_up
from serving.server.client import Client, ServerError
from serving.server.connection import NoAnswer
from serving.server.remote_server import RemoteServer


class Management(ThreadingHTTPServer):
    """Keeps what it is asked, and gives a registration `status`, or no answer."""

    daemon_threads = True

    def __init__(self, status: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.status, self.asked, self.over = status, list[str](), threading.Event()


class _Request(BaseHTTPRequestHandler):
    server: Management

    def do_POST(self) -> None:
        self.server.asked.append(self.command)
        if self.server.status is None:
            self.server.over.wait(30)
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_DELETE(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def asked_of(status: int | None, timeout_s: float) -> Iterator[tuple[Client, list[str]]]:
    with Management(status) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{web.server_port}"
        try:
            with Client(RemoteServer(url, url), timeout_s=timeout_s) as client:
                yield client, web.asked
        finally:
            web.over.set()
            web.shutdown()
            thread.join()


@pytest.fixture
def archive(archive_path: Path) -> Archive:
    return read_archive(archive_path)


def deployed(archive: Archive) -> DeployedVersion:
    return DeployedVersion(archive.path.name, archive.sha256)


def test_after_a_call_without_an_answer_nothing_more_is_called(archive: Archive) -> None:
    """A broken network would keep it, and carry it out in the middle of the next try."""
    with asked_of(None, timeout_s=0.5) as (client, asked):
        with pytest.raises(NoAnswer) as raised:
            bring_up(client, archive, deployed(archive))
        assert raised.value.timed_out
        assert asked == ["POST"]


@pytest.mark.parametrize(("status", "after"), [(500, ["POST", "DELETE"]), (409, ["POST"])])
def test_what_was_refused_is_taken_back_unless_it_is_somebody_elses(
    archive: Archive, status: int, after: list[str]
) -> None:
    with asked_of(status, timeout_s=30) as (client, asked):
        with pytest.raises(ServerError):
            bring_up(client, archive, deployed(archive))
        assert asked == after
