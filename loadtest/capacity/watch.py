"""What a server's processes use while it is under load, second by second."""

import time
from contextlib import suppress
from typing import NamedTuple

import psutil

from loadtest.background import Background
from serving.server.lifecycle import Server
from serving.server.process_tree import cpu_s, pss_mib

_EVERY_S = 1.0
_MEMORY_EVERY = 5  # samples; adding up the pages of some gigabytes costs some milliseconds
_JAVA = "java"
PARTS = ("java", "workers", "load_test", "others")  # others: on this machine, or taken by its host


class Usage(NamedTuple):
    """CPU seconds of each part since its start, at a moment of the monotonic clock."""

    at: float
    cpu_s: dict[str, float]

    @property
    def server(self) -> float:
        """Of all of the server's processes."""
        return self.cpu_s["java"] + self.cpu_s["workers"]

    def cores_since(self, before: "Usage") -> dict[str, float]:
        """Cores that each used from `before` to this moment."""
        took = self.at - before.at
        used = {part: self.cpu_s[part] - before.cpu_s[part] for part in PARTS}
        return {part: round(max(0.0, cpu_s) / took, 3) for part, cpu_s in used.items()}


class Sample(NamedTuple):
    """Cores that each part used in the second before `at`; the server's memory where it was asked."""

    at: float
    cores: dict[str, float]
    memory_mib: float | None


class Watch(Background):
    """Samples a server, and the load generator beside it, until its `with` ends."""

    def __init__(self, server: Server, generator_pid: int) -> None:
        """Watch a server that runs."""
        self.samples: list[Sample] = []
        self._server = server
        self._root = psutil.Process(server.pid)
        self._load_test = (psutil.Process(), psutil.Process(generator_pid))
        super().__init__([self._run])

    def usage(self) -> Usage:
        """Add up what has been used so far."""
        begun, server, machine = time.monotonic(), cpu_s(self._root), psutil.cpu_times()
        own = 0.0
        for process in self._load_test:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                own += times.user + times.system
        java = server.pop(_JAVA, 0.0)
        workers = sum(server.values())
        busy = sum(
            getattr(machine, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal")
        )
        at = (begun + time.monotonic()) / 2  # on busy cores this takes a while
        parts = java, workers, own, busy - java - workers - own
        return Usage(at, dict(zip(PARTS, parts, strict=True)))

    def _run(self) -> None:
        before = self.usage()
        while not self._over.wait(_EVERY_S) and self._server.process():
            now = self.usage()
            memory = None
            if len(self.samples) % _MEMORY_EVERY == 0:
                memory = round(sum(pss_mib(self._root).values()), 1)
            self.samples.append(Sample(now.at, now.cores_since(before), memory))
            before = now
