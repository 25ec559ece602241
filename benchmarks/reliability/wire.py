"""Hosts on this one machine, and a network between them that is slow, loses packets and breaks.

Each host is a network namespace with a TUN device; a process of its own carries packets from one to the
other, late, or not at all. That is what `tc netem` does, also on kernels without it, and a part of the
network can be cut in the middle of a call. TCP above it is the kernel's own. Needs root and iproute2.
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from model.errors import FlyobjError, InputError

_DEVICE = "wire0"
_MTU = 1500
_MAX_QUEUED = 10_000  # packets under way; what is more is dropped, as by a router
# linux/if_tun.h, linux/sched.h
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


class Network:
    """Hosts by their names, with addresses 10.77.0.1, 10.77.0.2, ... in a `with`."""

    def __init__(self, names: Sequence[str]) -> None:
        """Name the hosts; nothing is made yet."""
        self._names = list(names)
        self._stack = ExitStack()
        self._wire: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Make namespaces, devices and the wire; raises `InputError` without root or iproute2."""
        if os.geteuid() or not shutil.which("ip"):
            raise InputError("network namespaces need root and iproute2; run it with sudo")
        with ExitStack() as stack:
            for name in self._names:
                _ip("netns", "add", self._namespace(name))
                stack.callback(_ip, "netns", "delete", self._namespace(name))
                device = ["dev", _DEVICE]
                for words in (
                    ["link", "set", "lo", "up"],
                    ["tuntap", "add", *device, "mode", "tun"],
                    ["address", "add", f"{self.address(name)}/24", *device],
                    ["link", "set", *device, "mtu", str(_MTU), "up"],
                ):
                    _ip("-n", self._namespace(name), *words)
            command = [sys.executable, "-m", "benchmarks.reliability.wire"]
            command += [self._namespace(name) for name in self._names]
            self._wire = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(self._wire.terminate)
            self.be()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove all of it."""
        self._stack.close()

    def be(self, delay_ms: float = 0, loss: float = 0, cut: Sequence[str] = ()) -> None:
        """Be like this from now on.

        Args:
            delay_ms: of each packet, one way, a fifth more or less at random.
            loss: share of the packets that are dropped.
            cut: hosts that no packet reaches or leaves.
        """
        if not (self._wire and self._wire.stdin and self._wire.stdout):
            raise FlyobjError("the network isn't made yet; use it in a `with`")
        state = {"delay_s": delay_ms / 1000, "loss": loss, "cut": [self.address(name) for name in cut]}
        self._wire.stdin.write(json.dumps(state) + "\n")
        self._wire.stdin.flush()
        if not self._wire.stdout.readline():
            raise FlyobjError("the process that carries the packets has ended")

    def address(self, name: str) -> str:
        """Return a host's address."""
        return f"10.77.0.{self._names.index(name) + 1}"

    def command(self, name: str, *words: object) -> list[str]:
        """Make the command that runs another one on a host."""
        return ["ip", "netns", "exec", self._namespace(name), *map(str, words)]

    def enter(self, name: str) -> None:
        """Go on as a program of this host, for good; to be called before there are threads."""
        enter(self._namespace(name))

    def _namespace(self, name: str) -> str:
        return f"flyobj-{os.getpid()}-{name}"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FlyobjError(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}")


class _Wire:
    """Carries packets between TUN devices."""

    def __init__(self, devices: dict[bytes, int]) -> None:
        """Take the devices by their addresses."""
        self._devices = devices
        self._under_way: list[tuple[float, int, int, bytes]] = []  # due, number, device, packet
        self._number, self._delay_s, self._loss = 0, 0.0, 0.0
        self._cut: set[bytes] = set()
        self._rng = random.Random(0)

    def run(self) -> None:
        """Carry until standard input ends; a line there is a new state, answered with one."""
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin, selectors.EVENT_READ)
            for device in self._devices.values():
                selector.register(device, selectors.EVENT_READ)
            while True:
                wait_s = self._under_way[0][0] - time.monotonic() if self._under_way else None
                for key, _ in selector.select(None if wait_s is None else max(0, wait_s)):
                    if key.fd in self._devices.values():
                        self._take(key.fd)
                    elif line := sys.stdin.readline():
                        self._change(json.loads(line))
                    else:
                        return
                self._deliver()

    def _change(self, state: dict[str, object]) -> None:
        self._delay_s, self._loss = float(str(state["delay_s"])), float(str(state["loss"]))
        cut = state["cut"]
        self._cut = {socket.inet_aton(address) for address in cut} if isinstance(cut, list) else set()
        print("so it is", flush=True)

    def _take(self, device: int) -> None:
        """Read what a device has to send; IPv4 has its addresses from byte 12 and 16 on."""
        with suppress(BlockingIOError):
            while True:
                packet = os.read(device, _MTU + 100)
                source, target = packet[12:16], packet[16:20]
                lost = {source, target} & self._cut or self._rng.random() < self._loss
                if target not in self._devices or lost or len(self._under_way) >= _MAX_QUEUED:
                    continue
                due = time.monotonic() + self._delay_s * self._rng.uniform(0.8, 1.2)
                self._number += 1
                heapq.heappush(self._under_way, (due, self._number, self._devices[target], packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._under_way and self._under_way[0][0] <= now:
            _, _, device, packet = heapq.heappop(self._under_way)
            if packet[16:20] not in self._cut:
                with suppress(OSError):  # its host is going
                    os.write(device, packet)


def enter(namespace: str) -> None:
    """Move this thread, and what it starts from now on, to a namespace."""
    with Path("/run/netns", namespace).open("rb") as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), _CLONE_NEWNET):
            raise FlyobjError(f"can't enter {namespace}: {os.strerror(ctypes.get_errno())}")


def _open_device(namespace: str) -> int:
    """Open a namespace's TUN device; it stays with its namespace wherever this process goes."""
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


if __name__ == "__main__":
    devices = {
        socket.inet_aton(f"10.77.0.{number}"): _open_device(namespace)
        for number, namespace in enumerate(sys.argv[1:], 1)
    }
    _Wire(devices).run()
