"""What a process and its children use, and their end."""

import subprocess
import sys

import psutil

from serving.server.process_tree import cpu_s, end, family, pss_mib


def test_a_process_tree_has_cpu_time_and_memory() -> None:
    process = psutil.Process()
    before = cpu_s(process)[process.name()]
    sum(i * i for i in range(2_000_000))
    assert cpu_s(process)[process.name()] > before
    assert pss_mib(process)[f"{process.name()} {process.pid}"] > 1


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
