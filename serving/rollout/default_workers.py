"""How many workers a version gets where neither `--workers` nor `deployment.json` says a number."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from serving.server.lifecycle import Server
from serving.server.remote_server import RemoteServer

# Proportional set sizes under load with OpenVINO at 224 pixels (docs/performance.md), rounded up.
WORKER_MIB, JAVA_MIB = 450, 350
CGROUPS = Path("/sys/fs/cgroup")


def default_workers(cores: int, memory_mib: float) -> int:
    """One worker for each core, as long as two versions fit into the memory; at least one.

    A worker's engine has one thread, and two such workers answer 1.4 to 1.7 times as much as one of two
    threads (docs/performance.md). Two versions, because a rollout has both of them up.
    """
    fit = (memory_mib - JAVA_MIB) / (2 * WORKER_MIB)
    return max(1, min(cores, int(fit)))


def workers_for(server: Server | RemoteServer) -> int | None:
    """Say how many workers suit a server; None if it is on another machine."""
    if isinstance(server, RemoteServer):
        return None
    return workers_of(server.pid if server.process() else os.getpid())


def workers_of(pid: int) -> int:
    """Apply the rule to the cores and memory that a process may use."""
    return default_workers(usable_cores(pid), usable_memory_mib(pid))


def usable_cores(pid: int, cgroups: Path = CGROUPS) -> int:
    """Count the cores that a process may use: its affinity, and whole ones of its cgroup's quota."""
    cores = len(os.sched_getaffinity(pid))
    for quota, period in _limits(pid, "cpu.max", cgroups):
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def usable_memory_mib(pid: int, cgroups: Path = CGROUPS) -> float:
    """Say how much memory a process may use: the machine's, or the least of its cgroups' limits."""
    limits = [int(limit) for (limit,) in _limits(pid, "memory.max", cgroups)]
    return min([psutil.virtual_memory().total, *limits]) / 2**20


def _limits(pid: int, name: str, cgroups: Path) -> Iterator[list[str]]:
    """Read a limit of each cgroup (v2) that a process is in, up to the root, where there is one.

    Interface files: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    for folder in (cgroups / own, *(cgroups / own).parents):
        if folder.is_relative_to(cgroups) and (folder / name).is_file():
            words = (folder / name).read_text().split()
            if words[0] != "max":
                yield words
