"""Is a request ever lost? Every change of versions under load, then kill -9; asserted on counts.

`make survive` does the same for longer and with more users.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from benchmarks.reliability.continuous_load import ContinuousLoad
from loadtest.capacity.generator import Generator
from loadtest.capacity.schedule import poisson
from loadtest.closed_loop import endpoint_of
from serving.rollout import health
from serving.rollout.operations import deploy, promote, retire, rollback, scale
from serving.rollout.quiesce import hold_workers
from serving.rollout.reconcile import reconcile
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.versions import list_versions

if TYPE_CHECKING:
    from tests.conftest import Home


@pytest.fixture(scope="module")
def home(new_home: Callable[[str], "Home"], archive_path: Path) -> "Home":
    home = new_home("survival")
    home.start()
    with home.client() as client:
        deploy(client, archive_path, workers=2)
    return home


@pytest.fixture
def client(home: "Home") -> Iterator[Client]:
    with home.client() as client:
        yield client


def state(client: Client) -> list[tuple[str, bool, int, int]]:
    return [(v.version, v.default, v.ready, v.workers) for v in list_versions(client)]


def ask_until(load: ContinuousLoad, requests: int) -> None:
    """Let some more requests be answered."""
    goal = len(load.answers) + requests
    until = time.monotonic() + 60
    while len(load.answers) < goal:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_no_planned_operation_loses_a_request(
    client: Client, as_version: Callable[[Path, str], Path], photos: list[bytes], tmp_path: Path
) -> None:
    with (
        ContinuousLoad(client, photos[0], 4, "1.0") as load,
        ContinuousLoad(client, photos[0], 1, "1.0", "1.0", think_s=0.02) as named,
    ):
        deploy(client, as_version(tmp_path, "2.0"), workers=1)
        load.allow("1.0", "2.0")
        promote(client, "2.0")
        load.allow("2.0")
        ask_until(load, 50)
        load.allow("1.0", "2.0")
        rollback(client)
        load.allow("1.0")
        scale(client, "1.0", 1)
        ask_until(load, 50)
        scale(client, "1.0", 2)
        client.tokens.renew("inference")
        retire(client, "2.0")
        ask_until(load, 50)
    for tally in (load.tally(), named.tally()):
        assert (tally.failed, tally.wrong, set(tally.statuses)) == (0, 0, {200})
    assert load.tally().requests > 300
    assert state(client) == [("1.0", True, 2, 2)]


def test_whoever_names_a_retired_version_is_answered_or_refused(
    client: Client, as_version: Callable[[Path, str], Path], photos: list[bytes], tmp_path: Path
) -> None:
    deploy(client, as_version(tmp_path, "3.0"), workers=1)
    with ContinuousLoad(client, photos[0], 2, "3.0", "3.0", think_s=0.05) as named:
        ask_until(named, 10)
        retire(client, "3.0", timeout_s=60)
        ask_until(named, 10)
    tally = named.tally()
    assert tally.wrong == 0
    assert {200, 404} <= set(tally.statuses) <= {200, 404, 503}


def test_a_killed_worker_fails_its_own_batch_alone(client: Client, photos: list[bytes]) -> None:
    with ContinuousLoad(client, photos[0], 6, "1.0") as load:
        ask_until(load, 30)
        killed = int(client.versions()["1.0"]["workers"][0]["pid"])
        os.kill(killed, signal.SIGKILL)
        ask_until(load, 50)
        until = time.monotonic() + 60
        while state(client) != [("1.0", True, 2, 2)] or killed in pids(client):
            assert time.monotonic() < until
            time.sleep(0.1)
        ask_until(load, 30)
    tally = load.tally()
    assert tally.wrong == 0
    assert tally.failed <= 8  # a batch
    # 507 is what TorchServe makes of exit code 137: it takes kill -9 for a lack of memory.
    assert set(tally.statuses) <= {200, 500, 503, 507}


def pids(client: Client) -> set[int]:
    return {int(worker["pid"]) for worker in client.versions()["1.0"]["workers"]}


def test_a_killed_server_comes_back_as_it_was(home: "Home", client: Client, photos: list[bytes]) -> None:
    scale(client, "1.0", 1)
    before = state(client)
    with ContinuousLoad(client, photos[0], 3, "1.0") as load:
        ask_until(load, 20)
        java = lifecycle.require(home.path).process()
        assert java is not None
        family = [java, *java.children(recursive=True)]
        java.kill()
        psutil.wait_procs(family, timeout=60)
        assert health.why_not_live(home.path) is not None
        assert [p for p in family if p.is_running()] == []  # workers don't outlive it
        with Client(home.start()) as started:
            reconcile(started)
            assert state(started) == before
        ask_until(load, 20)
        assert health.why_not_ready(home.path) is None
    tally = load.tally()
    assert tally.wrong == 0
    assert set(tally.statuses) <= {200, 0, 500, 503, 507, 404}
    assert [a.status for a in load.answers[-3:]] == [200, 200, 200]


def test_overload_is_refused_at_once_and_what_is_accepted_is_answered(
    client: Client, photos: list[bytes]
) -> None:
    """While the workers hold still the queue takes what it can; model-config.yaml allows 200."""
    endpoint, arrivals = endpoint_of(client), poisson(200, 1.3, seed=1)  # 260 requests
    with (
        Generator(endpoint.port, endpoint.path, [photos[0]], [], 60) as generator,
        ThreadPoolExecutor(1) as pool,
    ):
        with hold_workers(client, "1.0", 30):
            flooded = pool.submit(
                generator.send, arrivals, client.tokens.get("inference"), len(arrivals)
            )
            until = time.monotonic() + 8
            while sum(v.waiting for v in list_versions(client)) < 200:
                assert time.monotonic() < until
                time.sleep(0.02)
        statuses = Counter(flooded.result(120).status)
    assert set(statuses) == {200, 503}
    assert sum(statuses.values()) == 260
    assert statuses[200] >= 200
    assert health.why_not_ready(Path(client.server.home)) is None


def test_stop_waits_for_the_last_answers(home: "Home", client: Client, photos: list[bytes]) -> None:
    """A request that waits in the queue when `stop` begins is answered before the server ends."""
    with ThreadPoolExecutor(2) as pool:
        with hold_workers(client, "1.0", 30):
            answer = pool.submit(client.predict, photos[0])
            until = time.monotonic() + 30
            while not sum(v.waiting for v in list_versions(client)):
                assert time.monotonic() < until
                time.sleep(0.02)
            stopped = pool.submit(health.stop, home.path, 60)
            time.sleep(0.5)
            assert not stopped.done()
        assert answer.result(60)["model_version"] == "1.0"
        assert stopped.result(60) == (True, None)
    assert lifecycle.find(home.path) is None
