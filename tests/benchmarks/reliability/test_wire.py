"""Hosts in network namespaces: the network between them does what it was told to."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.reliability.wire import Network

LISTEN = """
import socket
with socket.create_server(("", 9000)) as listening:
    print("listens", flush=True)
    while True:
        listening.accept()[0].close()
"""
CONNECT = """
import socket, sys, time
started = time.monotonic()
try:
    socket.create_connection((sys.argv[1], 9000), timeout=float(sys.argv[2])).close()
    print(time.monotonic() - started)
except TimeoutError:
    print("no answer")
"""
# The name of a machine often stands for 127.0.0.1 in its own /etc/hosts.
MEET = """
import socket
import torch
socket.gethostname = lambda: "localhost"
from training.fit.distributed import _choose_device
_choose_device()
torch.distributed.init_process_group("gloo")
total = torch.tensor([torch.distributed.get_rank() + 1.0])
torch.distributed.all_reduce(total)
print(total.item(), flush=True)
"""


@pytest.fixture(scope="module")
def network(netns: None) -> Iterator[Network]:  # noqa: ARG001
    with Network(["a", "b"]) as network:
        yield network


def connect(network: Network, patience_s: float) -> str:
    command = network.command("a", sys.executable, "-c", CONNECT, network.address("b"), patience_s)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_delay_loss_and_a_cut(network: Network) -> None:
    command = network.command("b", sys.executable, "-c", LISTEN)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listens\n"
            network.be(delay_ms=100)
            assert float(connect(network, 60)) >= 0.16  # there and back, a fifth less at least
            network.be(loss=1)
            assert connect(network, 1) == "no answer"
            network.be(cut=["b"])
            assert connect(network, 1) == "no answer"
            network.be()
            assert float(connect(network, 60)) >= 0
        finally:
            listener.terminate()


def test_processes_of_two_machines_find_each_other(network: Network) -> None:
    network.be()
    master = {"MASTER_ADDR": network.address("a"), "MASTER_PORT": "29500", "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            network.command(name, sys.executable, "-c", MEET),
            env={**os.environ, **master, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, name in enumerate("ab")
    ]
    assert [process.communicate(timeout=250)[0] for process in processes] == ["3.0\n"] * 2
