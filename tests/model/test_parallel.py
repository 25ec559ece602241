"""Work in processes: in order, a few items at a time, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from model.errors import FlyobjError
from model.parallel import CHUNK, chunks_in_parallel, in_order, in_parallel


def pid_of(_: int) -> int:
    return os.getpid()


def doubled(numbers: "list[int]") -> list[int]:
    return [2 * number for number in numbers]


def end(_: int) -> None:
    os._exit(1)


def test_few_items_stay_in_this_process() -> None:
    assert set(in_parallel(pid_of, range(2 * CHUNK - 1), workers=2)) == {os.getpid()}


@pytest.mark.slow
def test_many_go_to_others_and_come_back_in_order() -> None:
    pids = set(in_parallel(pid_of, range(8 * CHUNK), workers=2))
    assert os.getpid() not in pids
    assert not pids & {child.pid for child in psutil.Process().children()}
    numbers = list(range(4 * CHUNK + 5))
    assert list(chunks_in_parallel(doubled, numbers, workers=2)) == [2 * n for n in numbers]


@pytest.mark.slow
def test_a_worker_that_dies_is_an_error() -> None:
    with pytest.raises(FlyobjError, match="a worker process died"):
        list(in_parallel(end, range(4 * CHUNK), workers=2))


def test_only_a_few_are_under_way() -> None:
    started: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        for taken, number in enumerate(in_order(pool, lambda n: started.append(n) or n, range(50), 5)):
            assert number == taken
            assert len(started) <= taken + 5


@pytest.fixture
def working(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A process that is handed results by two others, in a group of its own, and its children."""
    script = tmp_path / "work.py"
    script.write_text(
        "import sys, time\n"
        "from model.parallel import in_parallel\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        for _ in in_parallel(abs, range(100_000), 2):\n"
        "            time.sleep(0.05)\n"  # so that the workers wait
        "    except KeyboardInterrupt:\n        sys.exit(130)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Who runs the tests in the background ignores it, and what they start would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as parent:
        until = time.monotonic() + 30
        while len(children := psutil.Process(parent.pid).children(recursive=True)) < 3:  # and a tracker
            assert time.monotonic() < until
            time.sleep(0.1)
        yield parent, children  # which are still starting
        parent.kill()


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(
    working: tuple[subprocess.Popen[str], list[psutil.Process]],
) -> None:
    parent, children = working
    parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_ctrl_c_is_for_the_parent_to_answer(
    working: tuple[subprocess.Popen[str], list[psutil.Process]],
) -> None:
    parent, children = working
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    statuses = [Path(f"/proc/{worker.pid}/status").read_text() for worker in workers]
    blocked = [int(re.findall(r"SigBlk:\s*(\w+)", status)[0], 16) for status in statuses]
    assert [bool(mask >> (signal.SIGINT - 1) & 1) for mask in blocked] == [True, True]
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    _, said = parent.communicate(timeout=20)
    assert (parent.returncode, said) == (130, "")
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
