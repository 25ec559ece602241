"""Is a request ever lost? Every change of versions and every mishap under constant load: `make survive`.

Clients ask without a pause, remember each answer and know which versions may answer at that time. The
planned operations are repeated until they were seen by 20,000 requests; none may fail, be answered by a
wrong version, or hang. Then workers and server are killed, and the server is asked five times as much as
it can answer. The last line is the result as JSON.

    python -m benchmarks.reliability.rollout [--run RUN] [--users 8] [--requests 20000] [--overload-s 60]
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from PIL import Image

from benchmarks.program import console, parser_of, run
from benchmarks.reliability.archives import as_version, crash_on_load, other_answers
from benchmarks.reliability.continuous_load import ContinuousLoad, RequestTally
from benchmarks.reliability.corpus import encode
from benchmarks.reliability.events import Events, kill_server, merge_tallies, planned_sums, print_table
from benchmarks.reliability.small_run import Subject, add_run, package
from loadtest.capacity.generator import Generator, LoadResult
from loadtest.capacity.schedule import poisson
from loadtest.closed_loop import endpoint_of
from model.errors import FlyobjError
from serving.rollout import health
from serving.rollout.deployment import read_deployment
from serving.rollout.operations import deploy, promote, retire, rollback, scale
from serving.rollout.readiness import wait_ready
from serving.rollout.reconcile import reconcile
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.latency import percentile
from serving.server.ports import free_port
from serving.server.versions import list_versions

CALM_S = 10  # before and after an overload
_TIMEOUT_S = 60.0


class Survival(Events):
    """A server, its clients, and what happened to them."""

    def __init__(self, subject: Subject, users: int) -> None:
        """Name the folders; nothing is started yet."""
        super().__init__()
        self.folder, self.archive, self.photo = subject.folder, subject.archive, subject.photo
        self.store, self.home, self.port = self.folder / "store", self.folder / "home", 0
        self.users = users

    def start(self) -> Client:
        """Start the server as `flyobj serve` does."""
        self.port = self.port or free_port()
        client = Client(lifecycle.start(self.home, self.port, self.store))
        reconcile(client)
        return client

    def run_planned(
        self, client: Client, turn: int, load: ContinuousLoad, named: ContinuousLoad
    ) -> None:
        """Deploy, promote, scale, roll back and retire one version next to 1.0."""
        new = f"{turn}.0"
        archive = as_version(self.archive, self.folder, new)
        both = (load, named)
        with self.event("deploy", "planned", *both):
            deploy(client, archive)
        with self.event("promote", "planned", *both):
            load.allow("1.0", new)
            promote(client, new)
            load.allow(new)
        with self.event("scale up", "planned", *both):
            scale(client, new, 3)
        with self.event("scale down", "planned", *both):
            scale(client, new, 1)
        with self.event("roll back", "planned", *both):
            load.allow("1.0", new)
            rollback(client)
            load.allow("1.0")
        with self.event("retire", "planned", *both):
            retire(client, new)
        with self.event("the default from two workers to one and back", "planned", *both):
            scale(client, "1.0", 1)
            scale(client, "1.0", 2)

    def try_refused(self, client: Client, load: ContinuousLoad) -> None:
        """Deploys that must fail and leave nothing behind."""
        golden = {"bundle/golden/golden.json": other_answers}
        crash = {"flyobj_handler.py": crash_on_load}
        half = self.folder / "half.mar"
        half.write_bytes(self.archive.read_bytes()[:100_000])
        archives = (
            ("deploy of a damaged archive, of none", half),
            ("deploy of a damaged archive, of none", self.folder / "none.mar"),
            ("deploy with other golden answers", as_version(self.archive, self.folder, "7.1", golden)),
            ("deploy of workers that crash", as_version(self.archive, self.folder, "7.2", crash)),
        )
        before = self.state(client)
        for name, archive in archives:
            with self.event(name, "refused", load) as row:
                with suppress(FlyobjError):
                    deploy(client, archive)
                row["as_before"] = self.state(client) == before

    def two_operators(self, client: Client, load: ContinuousLoad) -> None:
        """Two deploys at once, each by a command of its own."""
        with self.event("two operators deploy at once", "planned", load) as row:
            commands = [
                [sys.executable, "-m", "cli", "models", "deploy", str(archive), "--home", str(self.home)]
                for archive in (
                    as_version(self.archive, self.folder, "8.0"),
                    as_version(self.archive, self.folder, "9.0"),
                )
            ]
            running = [subprocess.Popen(c, stdout=subprocess.DEVNULL) for c in commands]
            row["as_wanted"] = [process.wait(300) for process in running] == [0, 0]
        row["as_wanted"] &= {"8.0", "9.0"} < set(read_deployment(self.store).versions)
        retire(client, "9.0")

    def renew_tokens(self, client: Client, load: ContinuousLoad) -> None:
        """Tokens that stop being good while clients use them."""
        with self.event("the token renewed five times", "planned", load):
            for _ in range(5):
                client.tokens.renew("inference")
                time.sleep(0.3)

    def kill_worker(self, client: Client, load: ContinuousLoad) -> None:
        """Kill -9 of one of two workers."""
        with self.event("kill -9 of one of two workers", "mishap", load) as row:
            worker = client.versions()["1.0"]["workers"][0]
            os.kill(int(worker["pid"]), signal.SIGKILL)
            time.sleep(0.5)
            wait_ready_again(client)
            row["as_before"] = health.why_not_ready(self.home) is None

    def end_server(self, how: str, load: ContinuousLoad, end: Callable[[], object]) -> None:
        """End the server, start it again: the same versions, default and workers must answer."""
        with Client(lifecycle.require(self.home)) as client:
            before = self.state(client)
        with self.event(f"{how}, then `flyobj serve`", "mishap", load) as row:
            end()
            lifecycle.stop(self.home)  # what a killed server leaves behind
            with self.start() as client:
                row["as_before"] = self.state(client) == before

    def overload(self, client: Client, seconds: float) -> dict[str, Any]:
        """Five times what can be answered."""
        photo = large_photo()
        scale(client, "1.0", 1)
        before = calm_tally(client, photo)
        capacity = before.requests / CALM_S
        console.print(f"{capacity:.0f} requests/s; now {5 * capacity:.0f}/s for {seconds:g} s")
        flood = overload(client, photo, 5 * capacity, seconds)
        time.sleep(CALM_S)
        after = calm_tally(client, photo)
        return {
            "capacity_per_s": round(capacity, 1),
            "sent_per_s": round(5 * capacity, 1),
            "seconds": seconds,
            "statuses": {str(status): n for status, n in Counter(flood.status).items()},
            "refused_ms": _percentiles_ms(flood, 503),
            "answered_ms": _percentiles_ms(flood, 200),
            "p99_ms_before": round(1000 * before.p99_s, 1),
            "p99_ms_after": round(1000 * after.p99_s, 1),
            "failed_after": after.failed,
        }

    @staticmethod
    def state(client: Client) -> list[tuple[str, bool, int]]:
        """What is served: versions, default, workers."""
        return [(v.version, v.default, v.workers) for v in list_versions(client)]


def calm_tally(client: Client, photo: bytes) -> RequestTally:
    """Let four clients ask for a while."""
    with ContinuousLoad(client, photo, 4, "1.0") as calm:
        time.sleep(CALM_S)
    return calm.tally()


def overload(client: Client, photo: bytes, rate: float, seconds: float) -> LoadResult:
    """Send `rate` requests a second to the default version, whatever becomes of those before."""
    endpoint, arrivals = endpoint_of(client), poisson(rate, seconds, seed=1)
    with Generator(endpoint.port, endpoint.path, [photo], [], _TIMEOUT_S) as generator:
        return generator.send(arrivals, client.tokens.get("inference"), None)


def _percentiles_ms(load: LoadResult, status: int) -> dict[str, float]:
    """Take the median, the p99 and the highest latency of the answers of one status."""
    times = [t for t, found in zip(load.latency_s, load.status, strict=True) if found == status]
    shares = {"p50": 0.5, "p99": 0.99, "p100": 1.0} if times else {}
    return {name: round(1000 * percentile(times, share), 1) for name, share in shares.items()}


def wait_ready_again(client: Client) -> None:
    """Wait until a worker that was killed is replaced; a new pid is no crash here."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with suppress(FlyobjError):
            wait_ready(client, "1.0")
            return
        time.sleep(0.5)


def large_photo() -> bytes:
    """Draw a photo that is quick to send and slow to decode, so that few clients are too many."""
    image = Image.effect_noise((25, 25), 100).convert("RGB").resize((1600, 1600))
    return encode(image, "JPEG", quality=75)


def survive(case: Survival, requests: int, overload_s: float) -> dict[str, Any]:
    """Run everything; the server is stopped whatever happens."""
    try:
        client = case.start()
        deploy(client, case.archive, workers=2)
        with ContinuousLoad(client, case.photo, case.users, "1.0") as load:
            with ContinuousLoad(client, case.photo, 1, "1.0", "1.0", think_s=0.05) as named:
                time.sleep(3)
                for turn in range(2, 100):
                    case.run_planned(client, turn, load, named)
                    if planned_sums(case.rows)["requests"] >= requests:
                        break
            case.two_operators(client, load)
            case.renew_tokens(client, load)
            case.try_refused(client, load)
            case.kill_worker(client, load)
            load.allow("1.0", "8.0")
            promote(client, "8.0")  # a restart must not answer with 1.0, not even at first
            load.allow("8.0")
            case.end_server("kill -9 of the server", load, lambda: kill_server(case.home))
            case.end_server("SIGTERM", load, lambda: lifecycle.stop(case.home))
        with Client(lifecycle.require(case.home)) as client:
            promote(client, "1.0")
            retire(client, "8.0")
            overload = case.overload(client, overload_s)
    finally:
        health.stop(case.home, 0)
    planned = planned_sums(case.rows)
    refused = sum(row["failed"] for row in case.rows if row["kind"] == "refused")
    lost = planned["failed"] + planned["wrong"] + refused
    held = all(row.get("as_before", True) and row.get("as_wanted", True) for row in case.rows)
    passed = not lost and held and not overload["failed_after"]
    found = {"planned": planned, "events": merge_tallies(case.rows)}
    return {**found, "overload": overload, "passed": passed}


def main() -> None:
    """Run it; it has passed if nothing was lost."""
    parser = parser_of(__doc__)
    add_run(parser)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--requests", type=int, default=20_000, help="during planned operations")
    parser.add_argument("--overload-s", type=float, default=60)
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        with package(arguments.run) as subject:
            case = Survival(subject, arguments.users)
            return survive(case, arguments.requests, arguments.overload_s)

    def show(document: dict[str, Any]) -> None:
        print_table(document["events"])
        console.print(document["overload"])

    run(measure, show)


if __name__ == "__main__":
    main()
