"""How a training process is set up."""

import subprocess
import sys

import pytest

_PROGRAM = """
import resource, sys, torch
from model.network import Network
from training.fit.distributed import keep_memory
if "keep" in sys.argv:
    keep_memory()
network = Network(4)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
counts = []
for _ in range(12):
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    network(torch.randn(8, 3, 64, 64)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
print(min(after - before for before, after in zip(counts[6:], counts[7:])))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_uses_the_memory_of_the_one_before() -> None:
    def new_pages(*arguments: str) -> int:
        command = [sys.executable, "-c", _PROGRAM, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert new_pages("keep") * 10 < new_pages()
