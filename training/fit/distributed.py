"""Several processes and machines: who is first, starting the others, ending with them.

Lightning Fabric starts the processes of one machine; torchrun or Slurm may have started them instead.
"""

import logging
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import psutil
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from model.errors import FlyobjError
from model.files import first_line
from model.malloc import keep_memory
from training.fit.plan import Plan
from training.fit.settings import TrainSettings

# What Lightning's own starter, torchrun and Slurm set.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def is_first() -> bool:
    """Tell whether this is the process that reads, checks and writes for all of them."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def launch(settings: TrainSettings, plan: Plan | None) -> tuple[Fabric, Plan]:
    """Start the other processes, if there are to be any, and hand them the first one's plan."""
    # Getting memory back from the system took a quarter of a step's time at 128 pixels and half of it at
    # 224 (docs/experiments.md).
    keep_memory()
    several = settings.devices * settings.nodes > 1
    if settings.nodes > 1:
        _choose_device()
    fabric = Fabric(
        accelerator="auto",
        devices=settings.devices,
        num_nodes=settings.nodes,
        # Batch-norm statistics are averaged at each epoch's end instead (`fit`).
        strategy=DDPStrategy(forward_sync_buffers=False) if several else "auto",
        precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            fabric.launch()
        except RuntimeError as error:
            if not several:
                raise
            raise FlyobjError(
                f"the processes didn't find each other ({first_line(error)}); MASTER_ADDR and "
                "MASTER_PORT must be those of the first machine, on each, NODE_RANK 0, 1, ..., and no "
                "firewall may be between them"
            ) from error
    return fabric, cast(Plan, fabric.broadcast(plan))


def _choose_device() -> None:
    """Let gloo use the network device that reaches the first machine.

    By itself it takes the one that this machine's name stands for: loopback, where /etc/hosts says so.
    """
    first = os.environ.get("MASTER_ADDR", "")
    with suppress(OSError):  # there is no such address, which is told when it is called
        kind, *_, address = socket.getaddrinfo(first, 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # sends nothing
            own = probe.getsockname()[0]
        for device, addresses in psutil.net_if_addrs().items():
            if own in [entry.address for entry in addresses]:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", device)


def gather(fabric: Fabric, found: dict[Any, str]) -> dict[Any, str]:
    """Join what the processes have found."""
    if fabric.world_size == 1:
        return found
    parts: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, found)
    return {key: value for part in parts for key, value in part.items()}


@contextmanager
def end_together(fabric: Fabric) -> Iterator[None]:
    """End together: without the first process the others stop quietly, without them it says so."""
    if fabric.world_size == 1:
        yield
        return
    try:
        yield
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    except BaseException as error:
        for process in getattr(fabric.strategy.launcher, "procs", ()):
            process.send_signal(signal.SIGKILL)
        if not fabric.is_global_zero and not isinstance(error, FlyobjError):
            sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)
        if isinstance(error, RuntimeError) and not isinstance(error, FlyobjError):
            raise FlyobjError(
                f"process {fabric.global_rank} lost the others ({str(error).splitlines()[0][:200]}); "
                "continue with --resume"
            ) from error
        raise
