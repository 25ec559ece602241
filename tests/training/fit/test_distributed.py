"""How a training process is set up."""

import subprocess
import sys

import pytest

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
