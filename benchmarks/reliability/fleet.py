"""Is a request ever lost by changing a fleet? Three servers behind nginx under constant load.

Clients ask nginx without a pause, remember each answer, and know which versions may answer at that time.
The fleet is brought to one deployment.json after another: as homes of this machine and as addresses,
with the balancer's drain and without nginx's drain. Then one server is killed and brought back, and
applies are tried that must be refused or stop half-way. Needs nginx (Debian: nginx-light). The last line
is the result as JSON; the exit code is 1 if a request failed.

    python -m benchmarks.reliability.fleet [--run RUN] [--users 6] [--turns 2]
"""

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.program import parser_of, run
from benchmarks.reliability.archives import as_version
from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.events import Events, kill_server, merge_tallies, planned_sums, print_table
from benchmarks.reliability.programs import find_program
from benchmarks.reliability.small_run import add_run, package
from model.errors import FlyobjError
from model.files import write_json
from serving.archive.build import sha256
from serving.fleet import apply as fleet
from serving.fleet.balancer import Balancer
from serving.fleet.inventory import FleetServer, parse_servers
from serving.fleet.nginx import KEYS
from serving.rollout.deployment import DeployedVersion, Deployment, write_deployment
from serving.rollout.reconcile import reconcile
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port
from serving.server.remote_server import RemoteServer
from serving.server.versions import list_versions

SERVERS = 3
DRAIN_S = 30.0
_SMALL_FILES = 100_000  # bytes; no archive is unpacked into less
_NGINX_START_S = 30


class Fleet(Events):
    """Servers of one worker each over one store, and nginx in front of them."""

    def __init__(self, archive: Path, photo: bytes, folder: Path, servers: int = SERVERS) -> None:
        """Take an archive and a photo to ask with; nothing is started yet."""
        super().__init__()
        self.folder, self.store, self.proxy = folder, folder / "store", folder / "proxy"
        self.first, self.photo = archive, photo
        self.homes = [folder / f"home-{letter}" for letter in "abc"[:servers]]
        self.ports: dict[Path, int] = {}
        self.listen = 0

    def deployment(self, default: str, *others: str) -> None:
        """Say what should be served."""
        self.store.mkdir(exist_ok=True)
        for version in (default, *others):
            if not (self.store / f"flying_objects-{version}.mar").exists():
                as_version(self.first, self.store, version, {"model-config.yaml": one_worker})
        paths = {v: self.store / f"flying_objects-{v}.mar" for v in (default, *others)}
        versions = {v: DeployedVersion(p.name, sha256(p), workers=1) for v, p in paths.items()}
        write_deployment(Deployment(default, versions), self.store)

    def start(self, home: Path) -> None:
        """Start a server as `flyobj serve --no-tokens` does."""
        self.ports[home] = port = self.ports.get(home) or free_port()
        with Client(lifecycle.start(home, port, self.store, tokens=False)) as client:
            reconcile(client)

    def balancer(self) -> Balancer:
        """Write nginx's files where they are missing."""
        upstreams = [f"127.0.0.1:{self.ports[home]}" for home in self.homes]
        self.listen = self.listen or free_port()
        return Balancer(self.proxy, upstreams, DRAIN_S, self.listen)

    def by_home(self) -> list[FleetServer]:
        """The servers as homes of this machine."""
        return parse_servers([str(home) for home in self.homes], self.store, drained=False)

    def by_address(self) -> list[FleetServer]:
        """The same servers as addresses alone."""
        urls = [f"http://127.0.0.1:{self.ports[home]}" for home in self.homes]
        return parse_servers(urls, self.store, drained=True)

    @contextmanager
    def running(self) -> Iterator[Client]:
        """Start servers and nginx; gives a client of nginx, with a key that it knows."""
        nginx = find_program("nginx", "nginx-light")
        with ExitStack() as stack:
            for home in self.homes:
                stack.callback(lifecycle.stop, home)
                self.start(home)
            self.balancer()
            command = [nginx, "-p", str(self.proxy), "-c", "nginx.conf", "-g", "daemon off;"]
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.terminate)
            until = time.monotonic() + _NGINX_START_S
            client = stack.enter_context(Client(self._front(), timeout_s=30))
            while True:
                with suppress(FlyobjError):
                    client.predict(self.photo)
                    break
                if time.monotonic() > until:
                    raise FlyobjError(f"nginx of {self.proxy} doesn't answer")
                time.sleep(0.1)
            yield client

    def _front(self) -> RemoteServer:
        key = (self.proxy / KEYS).read_text().split('"')[1].removeprefix("Bearer ")
        never = "2999-01-01T00:00:00Z"
        write_json({"inference": {"key": key, "expiration time": never}}, self.folder / "key.json")
        url = f"http://127.0.0.1:{self.listen}"
        return RemoteServer(url, url, str(self.store), self.folder / "key.json")

    def states(self) -> list[list[tuple[str, bool, int]]]:
        """What each server that runs serves: versions, default, workers."""
        found = []
        for running in filter(None, map(lifecycle.find, self.homes)):
            with Client(running) as client:
                found.append([(v.version, v.default, v.workers) for v in list_versions(client)])
        return found

    def rollout(
        self,
        how: str,
        members: Sequence[FleetServer],
        balancer: Balancer | None,
        load: ContinuousLoad,
        *to: str,
    ) -> None:
        """Bring all to other versions, the first of them the default."""
        before = self.states()[0]
        served = next(name for name, default, _ in before if default)
        with self.event(how, "planned", load) as row:
            load.allow(served, to[0])
            self.deployment(*to)
            fleet.apply_to_fleet(members, self.store, balancer, DRAIN_S)
            load.allow(to[0])
            wanted = sorted((name, name == to[0], 1) for name in to)
            row["as_wanted"] = self.states() == [wanted] * len(self.homes)

    def kill(self, home: Path, load: ContinuousLoad) -> None:
        """Kill -9 of one server; nobody brings it back."""
        with self.event("kill -9 of one server", "planned", load):
            kill_server(home)

    def bring_back(self, home: Path, load: ContinuousLoad) -> None:
        """`flyobj serve` of a killed server: it serves what deployment.json says."""
        with self.event("`flyobj serve` of it again", "planned", load) as row:
            lifecycle.stop(home)  # what a killed server leaves behind
            self.start(home)
            row["as_wanted"] = len({str(state) for state in self.states()}) == 1

    def one_is_down(self, load: ContinuousLoad) -> None:
        """A fleet with a server that doesn't answer: nothing is changed."""
        served = self.states()[0]
        default = next(name for name, is_default, _ in served if is_default)
        with self.event("apply: one server is down", "planned", load) as row:
            self.deployment("99.0", default)
            try:
                fleet.apply_to_fleet(self.by_address(), self.store)
                row["as_wanted"] = False
            except FlyobjError as error:
                row["said"] = str(error)
                row["as_wanted"] = self.states()[0] == served
            self.deployment(default, *(name for name, is_default, _ in served if not is_default))

    def no_room(self, load: ContinuousLoad, new: str, old: str) -> None:
        """The second server can write no file of an archive's size: stopped there, then mended."""
        process = lifecycle.require(self.homes[1]).process()
        assert process is not None
        limits = process.rlimit(psutil.RLIMIT_FSIZE)
        with self.event("apply: no room on the second server", "planned", load) as row:
            load.allow(old, new)
            self.deployment(new, old)
            process.rlimit(psutil.RLIMIT_FSIZE, (_SMALL_FILES, limits[1]))
            try:
                fleet.apply_to_fleet(self.by_home(), self.store, self.balancer(), DRAIN_S)
                row["as_wanted"] = False
            except fleet.FleetApplyFailed as stopped:
                row["said"] = str(stopped)
                states = [outcome.state for outcome in stopped.outcomes]
                row["as_wanted"] = states == ["done", "failed", *["not tried"] * (len(states) - 2)]
            finally:
                process.rlimit(psutil.RLIMIT_FSIZE, limits)
        with self.event("the same apply, with room", "planned", load) as row:
            outcomes = fleet.apply_to_fleet(self.by_home(), self.store, self.balancer(), DRAIN_S)
            states = [outcome.state for outcome in outcomes]
            load.allow(new)
            row["as_wanted"] = states == ["as it should be", *["done"] * (len(states) - 1)]


def one_worker(text: str) -> str:
    """Let an archive have one worker: the servers share this machine."""
    return re.sub(r"^(min|max)Workers: \d+", r"\1Workers: 1", text, flags=re.M)


def survive(case: Fleet, users: int, turns: int) -> dict[str, Any]:
    """Run everything; servers and nginx are stopped whatever happens."""
    case.deployment("1.0")
    with case.running() as client, ContinuousLoad(client, case.photo, users, "1.0") as load:
        time.sleep(2)
        for turn in range(turns):
            old, new, last = f"{3 * turn + 1}.0", f"{3 * turn + 2}.0", f"{3 * turn + 3}.0"
            front = case.balancer()
            case.rollout("a version more, drained by nginx", case.by_home(), front, load, new, old)
            case.rollout("one less, by address, drained by nginx", case.by_address(), front, load, new)
            case.rollout("another, workers paused only", case.by_home(), None, load, last)
            case.rollout("and on, drained by nginx", case.by_home(), front, load, f"{3 * turn + 4}.0")
        served, new = f"{3 * turns + 1}.0", f"{3 * turns + 2}.0"
        case.no_room(load, new, served)
        case.kill(case.homes[1], load)
        time.sleep(3)
        case.one_is_down(load)
        case.bring_back(case.homes[1], load)
    planned = planned_sums(case.rows)
    held = all(row.get("as_wanted", True) for row in case.rows)
    passed = held and not planned["failed"] and not planned["wrong"]
    return {"planned": planned, "events": merge_tallies(case.rows), "passed": passed}


def main() -> None:
    """Run it; it has passed if nothing was lost."""
    parser = parser_of(__doc__)
    add_run(parser)
    parser.add_argument("--users", type=int, default=6)
    parser.add_argument("--turns", type=int, default=2, help="rounds of four rollouts")
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        with package(arguments.run) as subject:
            case = Fleet(subject.archive, subject.photo, subject.folder)
            return survive(case, arguments.users, arguments.turns)

    run(measure, lambda document: print_table(document["events"]))


if __name__ == "__main__":
    main()
