"""A process and all that descend from it: CPU time, memory, end; and the processor they run on."""

import platform
from contextlib import suppress
from pathlib import Path

import psutil


def family(root: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it; none if it has ended."""
    try:
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_s(root: psutil.Process) -> dict[str, float]:
    """CPU seconds of a process tree by the program's name, of children that ended too."""
    seconds: dict[str, float] = {}
    for process in family(root):
        try:
            name, times = process.name(), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        ended = times.children_user + times.children_system
        seconds[name] = seconds.get(name, 0.0) + times.user + times.system + ended
    return seconds


def pss_mib(root: psutil.Process) -> dict[str, float]:
    """Proportional set size of each process of a tree, MiB, by "NAME PID"."""
    sizes: dict[str, float] = {}
    for process in family(root):
        try:
            name, size = f"{process.name()} {process.pid}", process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        sizes[name] = round(size / 2**20, 1)
    return sizes


def end(root: psutil.Process, timeout_s: float = 10) -> None:
    """End a process tree: the root ends the others in order, after `timeout_s` all are killed."""
    processes = family(root)
    for process in processes[:1]:
        process.terminate()
    _, left = psutil.wait_procs(processes, timeout=timeout_s)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)


def find_process(words: set[str]) -> psutil.Process | None:
    """Find a process that has all these words among its arguments."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if words <= set(process.cmdline()):
                return process
    return None


def option(process: psutil.Process, name: str) -> str:
    """Read what follows `name`, `-DNAME=` say, in an argument of a process; empty if none begins so."""
    try:
        return next((w.removeprefix(name) for w in process.cmdline() if w.startswith(name)), "")
    except psutil.Error:
        return ""


def listening_ports(pid: int) -> set[int]:
    """List the TCP ports that a process listens on; none if it has ended."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    return {c.laddr.port for c in found if c.status == psutil.CONN_LISTEN}


def processor() -> str:
    """Name the processor, as Linux does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
