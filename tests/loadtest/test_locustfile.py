"""Real Locust against a real TorchServe, as its manual says."""

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from serving.rollout.operations import deploy, retire

if TYPE_CHECKING:
    from tests.loadtest.conftest import Locust

ROOT = Path(__file__).parents[2]
KINDS = ("predict", "form", "several", "version", "explain", "bad")


def test_every_answer_is_checked_and_right(locust: "Locust", dataset: Path) -> None:
    ended = locust.headless(photos=dataset / "test")
    assert ended.returncode == 0, ended.stderr
    assert locust.requests("predict") == locust.requests() > 0
    assert locust.failures() == 0


def test_wrong_answers_fail_the_run_unless_allowed(
    locust: "Locust", tmp_path: Path, photos: list[bytes]
) -> None:
    folder = tmp_path / "test" / "Weather Balloons"  # a class that the model doesn't know
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(photos[0])
    ended = locust.headless(photos=folder.parent, run_time="1s")
    assert ended.returncode == 1
    assert locust.failures() == locust.requests() > 0
    assert "without ['Weather Balloons']" in ended.stdout + ended.stderr
    assert locust.headless(photos=folder.parent, run_time="1s", max_failures=1).returncode == 0


def test_a_mix_of_all_kinds_survives_a_renewed_token(locust: "Locust", server: Any) -> None:
    """Drawn photos; bad ones are refused as they should be; the old token is good for nothing."""
    process = locust.start("--headless", "--equal-weights", tags="mix", run_time="5s")
    with server.client() as client:
        before = client.tokens.get("inference")
        time.sleep(4)
        client.tokens.renew("inference")
        assert client.tokens.get("inference") != before
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert locust.failures() == 0
    assert all(locust.requests(kind) > 0 for kind in KINDS), said


def test_a_slow_version_fails_the_thresholds(
    locust: "Locust", server: Any, slow_archive: Callable[[str, float], Path]
) -> None:
    limits = {"max_p50_ms": 390, "max_failures": 0, "min_rate": 0.1}
    with server.client() as client:
        deploy(client, slow_archive("7.0", 0.4), workers=1)
        try:
            slow = locust.headless(model_version="7.0", **limits)
            good = locust.headless(model_version="1.0", **limits)
        finally:
            retire(client, "7.0")
            (server.store / "flying_objects-7.0.mar").unlink()
    assert slow.returncode == 1
    (breach,) = [line for line in slow.stderr.splitlines() if " is over " in line]
    assert re.search(r"p50 \d+ ms is over --max-p50-ms 390", breach)
    assert slow.stderr.splitlines()[-1] == breach  # below Locust's tables
    assert good.returncode == 0, good.stderr


def test_two_workers_count_what_the_server_counts(
    locust: "Locust", server: Any, meeting: dict[str, int]
) -> None:
    with server.client() as client:
        before = answered(client)
        ended = locust.headless(processes=2, users=4, max_p99_ms=0.001, **meeting)
        assert ended.returncode == 1  # the master judges
        assert "--max-p99-ms 0.001" in ended.stderr
        sent = locust.requests()
        assert sent > 0
        assert locust.failures() == 0
        until = time.monotonic() + 10  # TorchServe reads metrics from its workers' logs
        while answered(client) - before < sent and time.monotonic() < until:
            time.sleep(0.1)
        assert answered(client) - before == sent


def answered(client: Any) -> int:
    """Count the requests that the workers of a server have answered."""
    return sum(size * count for size, count in client.batch_sizes().items())


@pytest.fixture
def meeting(free_port: int) -> dict[str, int]:
    """Options with which a master and its workers find each other."""
    return {"master_port": free_port, "master_bind_port": free_port}


def test_a_shape_goes_by_its_table(locust: "Locust") -> None:
    ended = locust.headless(shape="spike", users=10, run_time="4s")
    assert ended.returncode == 0, ended.stderr
    assert re.findall(r"Shape test updating to (\d+) users", ended.stderr) == ["1", "10", "1"]


def test_a_load_generator_at_its_limit_is_named(locust: "Locust", tmp_path: Path) -> None:
    """Locust warns above 90 % of a core, looked at every 5 s; here above nothing, sooner."""
    low = "from locust import runners\nrunners.CPU_WARNING_THRESHOLD = 0\n"
    low += "runners.CPU_MONITOR_INTERVAL = 0.3\nfrom loadtest.locustfile import *\n"
    (tmp_path / "low.py").write_text(low)
    ended = locust.headless(locustfile=tmp_path / "low.py", run_time="1s")
    assert ended.returncode == 0, ended.stderr
    assert "the load generator was the bottleneck" in ended.stderr.splitlines()[-1]


@contextmanager
def gateway(port: int) -> Iterator[tuple[int, threading.Event, Callable[[], None]]]:
    """Stand before the server on `port`; yields the own port, when the load begins, how to die."""
    ready, asked = threading.Event(), threading.Event()
    where: list[tuple[asyncio.AbstractEventLoop, int]] = []
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writers:  # the first connection is the question before the load
            asked.set()
        writers.append(writer)
        with contextlib.closing(writer):
            there = await asyncio.open_connection("127.0.0.1", port)
            writers.append(there[1])
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async def serve() -> None:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        where.append((asyncio.get_running_loop(), server.sockets[0].getsockname()[1]))
        ready.set()
        await ended.wait()
        server.close()
        await asyncio.sleep(0.1)  # for those that it has taken but that `accept` hasn't seen
        for writer in writers:
            writer.close()
        # Left open, they would fail whichever test is running when they are collected.
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    ended = asyncio.Event()
    thread = threading.Thread(target=asyncio.run, args=(serve(),))  # which cancels what still pumps
    thread.start()
    ready.wait()
    loop, own_port = where[0]

    def die() -> None:
        loop.call_soon_threadsafe(ended.set)
        thread.join()

    try:
        yield own_port, asked, die
    finally:
        if thread.is_alive():
            die()


def test_a_server_that_dies_half_way(locust: "Locust", server: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with gateway(server.port) as (port, asked, die):
        host = f"http://127.0.0.1:{port}"
        process = locust.start("--headless", host=host, run_time="4s", html=report, min_rate=0.1)
        assert asked.wait(30)
        time.sleep(1)
        die()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert 0 < locust.failures() < locust.requests()
    assert locust.failures() < 50  # it isn't asked in a tight loop
    assert "no answer (" in said
    assert "<html" in report.read_text()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"photos": "nowhere"}, "'nowhere' can't be read"),
        ({"key_file": "nowhere.json"}, "no token in 'nowhere.json'"),
        ({"key_file": "wrong.json"}, "refuses the token"),
        ({"model_version": "99.9"}, "has no version 99.9"),
        ({"host": "http://127.0.0.1:9"}, "no server answers at 'http://127.0.0.1:9'"),
        ({"tags": "explain,bad"}, "tags ['explain,bad'] are unknown"),
    ],
)
def test_what_is_wrong_is_said(locust: "Locust", changed: dict[str, str], message: str) -> None:
    (locust.folder / "wrong.json").write_text('{"inference": {"key": "wrong"}}')
    ended = locust.headless(**changed)
    assert ended.returncode == 2
    assert message in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_workers_dont_wait_for_a_server_that_is_not_there(
    locust: "Locust", meeting: dict[str, int]
) -> None:
    ended = locust.headless(processes=2, host="http://127.0.0.1:9", **meeting)
    assert ended.returncode == 2
    assert "no server answers" in ended.stderr


def test_the_web_page_runs_a_load(locust: "Locust", free_port: int) -> None:
    process = locust.start(web_host="127.0.0.1", web_port=free_port, users=None, run_time=None, csv=None)
    page = f"http://127.0.0.1:{free_port}"
    try:
        assert "Locust" in wait_for(lambda: httpx.get(page)).text
        started = httpx.post(f"{page}/swarm", data={"user_count": 2, "spawn_rate": 2})
        assert started.json()["success"]
        time.sleep(2)
        (row, _) = httpx.get(f"{page}/stats/requests").json()["stats"]
        assert (row["name"], row["num_failures"]) == ("predict", 0)
        assert row["num_requests"] > 0
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said


def wait_for(ask: Callable[[], httpx.Response]) -> httpx.Response:
    until = time.monotonic() + 20
    while True:
        try:
            return ask()
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def test_plain_locust_works_in_the_checkout() -> None:
    command = [str(Path(sys.executable).with_name("locust")), "--list"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "PhotoUser" in ended.stdout


_BOUND = """
from types import SimpleNamespace
from loadtest.locustfile import bound
for headless, run_time in ((True, None), (True, 5), (False, None)):
    options = SimpleNamespace(shape=None, headless=headless, run_time=run_time)
    bound(SimpleNamespace(parsed_options=options, runner=None))
    print(options.run_time)
"""


def test_a_run_without_an_end_ends_after_a_minute() -> None:
    """But for one that somebody sits before."""
    command = [sys.executable, "-c", _BOUND]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.split() == ["60", "5", "None"]
