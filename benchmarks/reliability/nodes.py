"""A training on two machines, one of them killed, and resumed: is the result that of one left alone?

The machines are `benchmarks.reliability.wire`'s, with a network of 1 ms between them, and share the
folders of photos and runs, as training on several machines needs. One run is left alone. In another one
the second machine is killed in the middle of an epoch: the first must say that it lost it, and the same
command with `--resume` on both must end with the same weights. Needs root and iproute2. The last line is
the result as JSON.

    sudo .venv/bin/python -m benchmarks.reliability.nodes [--per-class 20]
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.program import parser_of, run
from benchmarks.reliability.wire import Network
from model.errors import FlyobjError
from serving.archive.build import sha256
from training.fit.checkpoint import LAST

NODES = "first", "second"
_TIMEOUT_S = 600.0
_OPTIONS = ["--weights", "none", "--size", "64", "--epochs", "2", "--workers", "0"]
_OPTIONS += ["--devices", "1", "--nodes", "2", "--batch-size", "16"]


class Nodes:
    """Two machines that train."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Write to `folder`, which both see."""
        self.network, self.folder = network, folder

    def start(self, *words: object) -> list["subprocess.Popen[str]"]:
        """Run `flyobj train` on both."""
        started = []
        for rank, node in enumerate(NODES):
            master = {"MASTER_ADDR": self.network.address(NODES[0]), "MASTER_PORT": "29500"}
            environment = {**os.environ, **master, "NODE_RANK": str(rank), "OMP_NUM_THREADS": "1"}
            command = self.network.command(node, sys.executable, "-m", "cli", "train", *words)
            log = (self.folder / f"{node}.log").open("w")
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))
            log.close()
        return started

    def finish(self, processes: Sequence["subprocess.Popen[str]"]) -> list[int]:
        """Wait for both; returns their exit codes."""
        until = time.monotonic() + _TIMEOUT_S
        try:
            return [process.wait(max(0, until - time.monotonic())) for process in processes]
        except subprocess.TimeoutExpired as error:
            raise FlyobjError(f"still trains after {_TIMEOUT_S:g} s: {self.said(NODES[0])}") from error
        finally:
            for process in processes:
                process.kill()

    def said(self, node: str) -> str:
        """The last line that a machine has printed of its last command."""
        lines = (self.folder / f"{node}.log").read_text(encoding="utf-8").splitlines()
        return next((line.strip() for line in reversed(lines) if line.startswith("error")), lines[-1])


def measure(nodes: Nodes, per_class: int) -> dict[str, Any]:
    """Train without a mishap, and with one."""
    data, whole, killed = (nodes.folder / name for name in ("data", "whole", "killed"))
    draw = [sys.executable, "-m", "cli", "data", "synthesize", str(data), "--per-class", str(per_class)]
    subprocess.run(draw, check=True, stdout=sys.stderr)
    nodes.network.be(delay_ms=1)
    codes = {"left alone": nodes.finish(nodes.start(data, "--out", whole, *_OPTIONS))}
    processes = nodes.start(data, "--out", killed, *_OPTIONS)
    _wait_for_checkpoint(killed, processes)
    processes[1].kill()
    killed_at = time.monotonic()
    codes["killed"] = nodes.finish(processes)
    seconds, said = time.monotonic() - killed_at, nodes.said(NODES[0])
    codes["resumed"] = nodes.finish(nodes.start("--resume", killed))
    weights = [sha256(path / "bundle" / "weights.safetensors") for path in (whole, killed)]
    same = weights[0] == weights[1]
    ended = codes["left alone"] == codes["resumed"] == [0, 0] and codes["killed"][0] == 1
    found = {"exit_codes": codes, "noticed_after_s": round(seconds, 1), "said": said}
    return {**found, "same_weights": same, "passed": same and ended}


def _wait_for_checkpoint(run_folder: Path, processes: Sequence["subprocess.Popen[str]"]) -> None:
    """Wait until an epoch is done, and for a moment of the next one."""
    until = time.monotonic() + _TIMEOUT_S
    while not (run_folder / LAST).exists():
        if time.monotonic() > until or any(process.poll() is not None for process in processes):
            raise FlyobjError(f"no epoch of {str(run_folder)!r} was finished")
        time.sleep(0.05)
    time.sleep(1)


def main() -> None:
    """Run it; it has passed if both ended with the same weights."""
    parser = parser_of(__doc__)
    parser.add_argument("--per-class", type=int, default=20, help="drawn photos")
    arguments = parser.parse_args()

    def trial() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="flyobj-nodes-") as name, Network(NODES) as network:
            return measure(Nodes(network, Path(name)), arguments.per_class)

    run(trial)


if __name__ == "__main__":
    main()
