"""Real servers for tests: a TorchServe with a home of its own, free ports, a bucket."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from serving.rollout.reconcile import reconcile
from serving.server import homes, lifecycle
from serving.server.client import Client

MakeHome = Callable[[str], "Home"]


class Home:
    """A server's home, port and store; the server may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        self.store = folder / "store"
        self.port = free_ports()

    def start(self) -> lifecycle.Server:
        """Start it on two cores, as many as it has workers then, however many this machine has."""
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(cores)[:2])
        try:
            return lifecycle.start(self.path, self.port, self.store)
        finally:
            os.sched_setaffinity(0, cores)

    def stop(self) -> bool:
        return lifecycle.stop(self.path)

    def restart(self) -> None:
        """Stop, start and bring back what was deployed, as `flyobj stop` and `flyobj serve` do."""
        self.stop()
        with Client(self.start()) as client:
            reconcile(client)

    def client(self) -> Client:
        return Client(lifecycle.require(self.path))

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/predictions/flying_objects{path}"

    def headers(self) -> dict[str, str]:
        with self.client() as client:
            return {"Authorization": f"Bearer {client.tokens.get('inference')}"}


@contextmanager
def stand_in(home: Path, port: int, store: Path = Path("store")) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that looks like a home's server, as it would be after `flyobj serve`."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    words = ["org.pytorch.serve.ModelServer", str(home / "config.properties")]
    command = [sys.executable, "-c", "import time; time.sleep(600)", *words]
    with subprocess.Popen(command) as process:
        try:
            began = psutil.Process(process.pid).create_time()
            place = port, str(store.resolve()), str(home)
            document = asdict(lifecycle.Server(process.pid, began, *place))
            (home / "server.json").write_text(json.dumps(document))
            while not lifecycle.find(home):  # its command line is there a moment after it
                time.sleep(0.01)
            homes.remember(home)
            yield process
        finally:
            process.kill()


def free_ports(n: int = 5) -> int:
    """Find `n` consecutive ports that nobody listens on; return the first."""
    for first in random.SystemRandom().sample(range(20_000, 32_000, n), 100):
        with ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def wait_until_listening(process: "subprocess.Popen[Any]", port: int) -> None:
    """Wait for a program of a test's own."""
    until = time.monotonic() + 60
    while not listens(port):
        assert process.poll() is None, f"{process.args} ended"
        assert time.monotonic() < until, f"{process.args} doesn't listen"
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server of our own, and a client to look into it."""

    name: str
    client: Any

    def url(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def head(self, key: str) -> dict[str, Any]:
        place = {"Bucket": self.name, "Key": key}
        return dict(self.client.head_object(**place, ChecksumMode="ENABLED"))

    def put(self, key: str, content: bytes, sha256: str) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content, Metadata={"sha256": sha256})
