"""How a training process is set up."""

import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from model.errors import FlyobjError, InputError
from training.fit.distributed import end_together

_PROGRAM = """
import resource, torch
from model.network import Network
from training.fit.distributed import keep_memory
network = Network(4)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)

def new_pages():
    counts = []
    for _ in range(12):
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        network(torch.randn(8, 3, 64, 64)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return min(after - before for before, after in zip(counts[6:], counts[7:]))

print(new_pages())
keep_memory()
print(new_pages())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_uses_the_memory_of_the_one_before() -> None:
    command = [sys.executable, "-c", _PROGRAM]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, kept = map(int, said.split())
    assert kept * 10 < before


class Starter:
    """What Fabric's starter of processes keeps of the others."""

    def __init__(self) -> None:
        self.procs, self.sent = [self], []

    def send_signal(self, number: int) -> None:
        self.sent.append(number)


@pytest.mark.parametrize(
    ("rank", "error", "ends", "says"),
    [
        (
            0,
            RuntimeError("Connection closed by peer\nmore"),
            FlyobjError,
            r"process 0 lost .* peer\); ",
        ),
        (0, InputError("a photo is gone"), InputError, "^a photo is gone$"),
        (0, KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        (1, RuntimeError("Connection closed by peer"), SystemExit, "^1$"),
        (1, KeyboardInterrupt(), SystemExit, "^130$"),
    ],
)
def test_when_one_of_several_processes_ends_all_do(
    rank: int, error: BaseException, ends: type[BaseException], says: str
) -> None:
    launcher = Starter()
    fabric: Any = SimpleNamespace(
        world_size=2,
        global_rank=rank,
        is_global_zero=rank == 0,
        strategy=SimpleNamespace(launcher=launcher),
    )
    with pytest.raises(ends, match=says), end_together(fabric):
        raise error
    assert launcher.sent == [signal.SIGKILL]
