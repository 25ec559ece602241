"""A training on two machines, one of them killed, and resumed: is the result that of one left alone?

The machines are `benchmarks.reliability.wire`'s, with a network of 1 ms between them, and share the
folders of photos and runs, as training on several machines needs. One run is left alone. In another one
the second machine is killed in the middle of an epoch: the first must say that it lost it, and the same
command with `--resume` on both must end with the same weights. Then the network is cut between them.
Needs root and iproute2. The last line is the result as JSON.

    sudo .venv/bin/python -m benchmarks.reliability.nodes [--per-class 20] [--no-cut]
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.program import console, parser_of, run
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


def measure(nodes: Nodes, per_class: int, cut: bool) -> dict[str, Any]:
    """Train alone, killed and resumed, and cut off."""
    data, runs = nodes.folder / "data", [nodes.folder / name for name in ("whole", "killed", "cut")]
    draw = [sys.executable, "-m", "cli", "data", "synthesize", str(data), "--per-class", str(per_class)]
    subprocess.run(draw, check=True, stdout=sys.stderr)
    nodes.network.be(delay_ms=1)
    started = time.monotonic()
    codes = {"left alone": nodes.finish(nodes.start(data, "--out", runs[0], *_OPTIONS))}
    seconds = {"left alone": time.monotonic() - started}
    said = {"left alone": nodes.said(NODES[0])}
    for run_folder, how in zip(runs[1:], ("killed", "cut off") if cut else ("killed",), strict=False):
        processes = nodes.start(data, "--out", run_folder, *_OPTIONS)
        _wait_for_checkpoint(run_folder, processes)
        started = time.monotonic()
        if how == "killed":
            processes[1].kill()
        else:
            nodes.network.be(cut=[NODES[1]])
        codes[how] = nodes.finish(processes)
        seconds[how], said[how] = time.monotonic() - started, nodes.said(NODES[0])
        nodes.network.be(delay_ms=1)
        codes[f"{how}, resumed"] = nodes.finish(nodes.start("--resume", run_folder))
        console.print(codes, said)
    weights = [sha256(path / "bundle" / "weights.safetensors") for path in runs if path.exists()]
    same = len(set(weights)) == 1
    ended = all(c == [0, 0] for how, c in codes.items() if "resumed" in how or how == "left alone")
    passed = same and ended and codes["killed"][0] == 1
    rounded = {how: round(took, 1) for how, took in seconds.items()}
    found = {"exit_codes": codes, "seconds": rounded, "said": said, "same_weights": same}
    return {**found, "passed": passed}


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
    parser.add_argument("--no-cut", action="store_true", help="leave out the cut network: it waits")
    arguments = parser.parse_args()

    def trial() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="flyobj-nodes-") as name, Network(NODES) as network:
            return measure(Nodes(network, Path(name)), arguments.per_class, not arguments.no_cut)

    run(trial)


if __name__ == "__main__":
    main()
