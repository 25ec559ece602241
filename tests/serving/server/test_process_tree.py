"""What a process and its children use, and their end."""

import subprocess
import sys

import psutil
import pytest

from serving.server.process_tree import cpu_s, end, family, pss_mib


def test_a_process_tree_has_cpu_time_and_memory() -> None:
    process = psutil.Process()
    before = cpu_s(process)[process.name()]
    sum(i * i for i in range(2_000_000))
    assert cpu_s(process)[process.name()] > before
    assert pss_mib(process)[f"{process.name()} {process.pid}"] > 1


def test_children_that_ended_are_in_the_cpu_time() -> None:
    burn = [sys.executable, "-c", "sum(i * i for i in range(3_000_000))"]
    start = f"import subprocess, time; subprocess.run({burn}); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        root = psutil.Process(process.pid)
        (seconds,), own = cpu_s(root).values(), root.cpu_times()
        process.kill()
    assert own.children_user > 0.05
    assert seconds == pytest.approx(own.user + own.system + own.children_user + own.children_system)


def test_a_process_tree_ends_with_its_children() -> None:
    child = "import subprocess as s; p = s.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        sleeper = int(process.stdout.readline())
        root = psutil.Process(process.pid)
        assert [p.pid for p in family(root)] == [process.pid, sleeper]
        end(root, timeout_s=1)  # what the root leaves behind is killed
        assert family(root) == []
        assert not psutil.pid_exists(sleeper) or psutil.Process(sleeper).status() == "zombie"
