"""What a network that is slow, loses packets, and breaks does to a fleet and to a rollout.

Three servers on hosts of their own (`benchmarks.reliability.hosts`) under constant load; one is cut off
in the middle of its change, another while it has its share of the requests, and S3 in a download. Wrong
is: an answer of a version that may not answer, a request lost by a rollout, and an apply that does other
than docs/fleet.md says. Requests under way to a host that is cut off can't be saved; they are counted.
Needs root, iproute2, nginx and sshd (Debian: iproute2 nginx-light openssh-server). The last line is the
result as JSON.

    sudo .venv/bin/python -m benchmarks.reliability.partition [--run RUN] [--users 6] [--parts cuts]
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.program import parser_of, run
from benchmarks.reliability.continuous_load import ContinuousLoad
from benchmarks.reliability.events import merge_tallies, planned_sums, print_table
from benchmarks.reliability.hosts import LETTERS, OPERATOR, Hosts
from benchmarks.reliability.programs import find_program, wait_for
from benchmarks.reliability.small_run import add_run, package
from benchmarks.reliability.wire import Network
from serving.archive.s3 import push

S3, _S3_PORT = "s3", 9000
PARTS = "rollouts", "cuts", "s3"
GOOD = 0.0, 0.0  # delay of a packet, ms, and share of the packets that are lost
BAD = 20.0, 0.01  # between continents, on a bad day
_TIMEOUT_S = 60.0
_AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Trials:
    """What is done to them."""

    def __init__(self, hosts: Hosts, load: ContinuousLoad) -> None:
        """Take a fleet that runs and is asked."""
        self.hosts, self.load, self.network = hosts, load, hosts.network

    def roll_out(self, old: str, new: str, how: str, network: tuple[float, float]) -> None:
        """One rollout from end to end."""
        with self.hosts.event(f"apply, {how}", "planned", self.load) as row:
            self.network.be(*network)
            self.load.allow(old, new)
            self.hosts.deployment(new)
            self.hosts.sync()
            self.hosts.apply()
            self.load.allow(new)
            row["as_wanted"] = self.hosts.states() == [[(new, True, 1)]] * len(LETTERS)

    def cut_in_the_middle(self, old: str, new: str, after_s: float) -> None:
        """The second host is cut off while it is changed; then the network is whole again."""
        network, hosts = self.network, self.hosts
        hosts.deployment(new, old)
        hosts.sync()

        def cut() -> None:
            while not hosts.is_out("b"):
                time.sleep(0.05)
            time.sleep(after_s)
            network.be(*BAD, cut=["b"])

        with hosts.event(f"apply, cut off {after_s:g} s into the second", "planned", self.load) as row:
            network.be(*BAD)
            self.load.allow(old, new)
            with _meanwhile(cut):
                said = row["said"] = hosts.apply(code=1)
            stopped = "stopped at http://127.0.0.1:9180" in " ".join(said.split())
            row["as_wanted"] = stopped and hosts.is_out("b") and not hosts.is_out("c")
        with hosts.event("the same apply, the network whole again", "planned", self.load) as row:
            network.be()
            hosts.apply()
            self.load.allow(new)
            wanted = sorted([(old, False, 1), (new, True, 1)])
            row["as_wanted"] = hosts.states() == [wanted] * len(LETTERS) and not hosts.is_out("b")

    def cut_in_traffic(self, served: str, new: str) -> None:
        """A host that has its share of the requests is cut off: an apply is refused."""
        before, hosts = self.hosts.states(), self.hosts
        hosts.deployment(new, served)
        hosts.sync()
        with hosts.event("a host is cut off; apply is refused", "mishap", self.load) as row:
            self.network.be(cut=["c"])
            said = row["said"] = hosts.apply(code=1)
            row["as_wanted"] = "nothing was changed" in " ".join(said.split())
        with hosts.event("it is back", "mishap", self.load) as row:
            self.network.be()
            time.sleep(5)
            row["as_wanted"] = hosts.states() == before
        hosts.deployment(served)
        hosts.sync()

    def lose_s3(self, served: str, new: str) -> None:
        """S3 goes away while an archive is downloaded, and is back for the next try."""
        hosts, network = self.hosts, self.network
        hosts.deployment(served, new)
        hosts.deployment(served)
        os.environ.update(_AWS, AWS_ENDPOINT_URL=f"http://{network.address(S3)}:{_S3_PORT}")
        hosts.run_on(S3, Path(sys.executable).with_name("moto_server"), "-H", "0.0.0.0", "-p", _S3_PORT)
        wait_for(network.address(S3), _S3_PORT)
        httpx.put(f"{os.environ['AWS_ENDPOINT_URL']}/models", timeout=_TIMEOUT_S, trust_env=False)
        url = push(hosts.store / f"flying_objects-{new}.mar", "s3://models/").url
        deploy = "models", "deploy", url, "--home", hosts.homes[0]

        def cut() -> None:
            while not list(hosts.store_of("a").glob(".*.part")):
                time.sleep(0.01)
            time.sleep(1)
            network.be(cut=[S3])

        with hosts.event("S3 goes away in a download", "planned", self.load) as row:
            network.be(delay_ms=50, loss=0.02)
            with _meanwhile(cut):
                row["said"] = hosts.flyobj(*deploy, host="a", code=1)
            row["as_wanted"] = hosts.states() == [[(served, True, 1)]] * len(LETTERS)
        with hosts.event("the same deploy, S3 there again", "planned", self.load) as row:
            network.be()
            hosts.flyobj(*deploy, "--workers", 1, host="a")
            row["as_wanted"] = [len(state) for state in hosts.states()] == [2, 1, 1]
        with hosts.event("apply, one store without the archive", "planned", self.load) as row:
            hosts.deployment(served, new)
            hosts.sync("a", "b")
            said = row["said"] = hosts.apply(code=1)
            row["as_wanted"] = "stopped at http://127.0.0.1:9280" in " ".join(said.split())
        with hosts.event("the same apply, with it", "planned", self.load) as row:
            hosts.sync()
            hosts.apply()
            row["as_wanted"] = [len(state) for state in hosts.states()] == [2, 2, 2]


def survive(hosts: Hosts, users: int, parts: Sequence[str]) -> dict[str, Any]:
    """Run the parts; all programs are stopped whatever happens."""
    hosts.deployment("1.0")
    with (
        hosts.programs,
        hosts.running() as client,
        ContinuousLoad(client, hosts.photo, users, "1.0", think_s=0.02) as load,
    ):
        trials, served = Trials(hosts, load), "1.0"
        time.sleep(2)
        if "rollouts" in parts:
            trials.roll_out(served, "2.0", "over a good network", GOOD)
            trials.roll_out("2.0", served := "3.0", "20 ms and 1 % loss", BAD)
        if "cuts" in parts:
            trials.cut_in_the_middle(served, "4.0", after_s=0.5)
            trials.cut_in_the_middle("4.0", served := "5.0", after_s=3)
            trials.cut_in_traffic(served, "6.0")
        if "s3" in parts:
            trials.lose_s3(served, "7.0")
    planned, tally = planned_sums(hosts.rows), load.tally()
    held = all(row.get("as_wanted", True) for row in hosts.rows)
    passed = held and not planned["failed"] and not tally.wrong
    figures = {"requests": tally.requests, "failed": tally.failed, "wrong": tally.wrong}
    said = {row["event"]: row["said"] for row in hosts.rows if "said" in row}
    events = merge_tallies(hosts.rows)
    return {"all": figures, "planned": planned, "events": events, "said": said, "passed": passed}


@contextmanager
def _meanwhile(do: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread of its own while the body runs."""
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    yield
    thread.join(timeout=1)


def main() -> None:
    """Run it; it has passed if nothing was lost by a rollout, and no version answered wrongly."""
    parser = parser_of(__doc__)
    add_run(parser)
    parser.add_argument("--users", type=int, default=6)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()

    def measure() -> dict[str, Any]:
        for program in (("nginx", "nginx-light"), ("sshd", "openssh-server")):
            find_program(*program)
        with Network([OPERATOR, *LETTERS, S3]) as network, package(arguments.run) as subject:
            network.enter(OPERATOR)
            hosts = Hosts(network, subject.archive, subject.photo, subject.folder)
            return survive(hosts, arguments.users, arguments.parts)

    run(measure, lambda document: print_table(document["events"]))


if __name__ == "__main__":
    main()
