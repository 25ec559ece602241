"""How many workers a version gets where nobody says a number."""

import os
from pathlib import Path

import psutil
import pytest

from serving.rollout.default_workers import (
    JAVA_MIB,
    WORKER_MIB,
    default_workers,
    usable_cores,
    usable_memory_mib,
    workers_for,
)
from serving.server.remote_server import RemoteServer


@pytest.mark.parametrize(
    ("cores", "memory_mib", "workers"),
    [
        (1, 64_000, 1),
        (2, 4_000, 2),
        (8, 64_000, 8),
        (8, JAVA_MIB + 2 * 3 * WORKER_MIB, 3),  # three, and three of the next version
        (8, JAVA_MIB + 2 * 3 * WORKER_MIB - 1, 2),
        (4, 256, 1),  # too little for any; the first photo will tell
    ],
)
def test_one_a_core_as_long_as_two_versions_fit(cores: int, memory_mib: float, workers: int) -> None:
    assert default_workers(cores, memory_mib) == workers


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("300000 100000", 3), ("250000 100000", 2), ("50000 100000", 1)],
)
def test_a_quota_counts_in_whole_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(os.getpid(), tmp_path) == cores


def test_a_memory_limit_counts_where_it_is_below_the_machines(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().total / 2**20
    assert usable_memory_mib(os.getpid(), tmp_path) == machine
    for limit, mib in (("max", machine), (f"{512 * 2**20}", 512), (f"{2**60}", machine)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert usable_memory_mib(os.getpid(), tmp_path) == mib


def test_a_server_elsewhere_has_no_cores_that_we_see() -> None:
    assert workers_for(RemoteServer("http://10.0.0.1:8080", "http://10.0.0.1:8081", "store")) is None
