"""Decoding in a process of its own, which costs no more time and memory than it is given.

A photo of a few kilobytes can keep a decoder busy for minutes or make it ask for gigabytes, in ways
that no check of its header foresees, and some crash it. So whatever isn't a small, ordinary JPEG is
decoded in a child process (`model.decoder_process`). The system ends that when its CPU time is used up
and refuses it memory, and then the photo is refused, alone. The child is kept for the next photo; one
that has ended is replaced. Threads have a child each, and forked processes their own.
"""

import atexit
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.errors import (
    FlyobjError,
    PhotoError,
    PhotoTooCostly,
    PhotoTooLarge,
    PhotoTooSlow,
    UnreadableImage,
    UnsupportedFormat,
)

if TYPE_CHECKING:
    from model.image import RGB, PhotoLimits

# Of a child, above what it starts with. The pixels of the largest photo take 150 MB here, the body more.
MEMORY_BYTES = 768 * 2**20
_WAIT_S = 30  # for a reply; only a child that doesn't get the CPU it may use takes so long
_PIPE_BYTES = 2**20  # fewer turns between the two processes than with Linux's 64 KiB
_ERRORS: dict[str, type[PhotoError]] = {
    error.__name__: error for error in (PhotoTooLarge, UnreadableImage, UnsupportedFormat)
}


class _Decoder:
    """One child process."""

    def __init__(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            FlyobjError: it can't be started.
        """
        here = Path(__file__).resolve()
        script = str(here.with_name("decoder_process.py"))
        paths = [str(here.parents[1]), *filter(None, sys.path)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(MEMORY_BYTES), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):  # a user may have only so much of them
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        if self._reply() is None:
            raise FlyobjError(f"the process that decodes photos can't be started (exit {self.end()})")

    @property
    def running(self) -> bool:
        """Whether it can decode another photo."""
        return self._process.returncode is None

    def decode(self, data: bytes | bytearray, limits: "PhotoLimits", at_least: int) -> "RGB":
        """Decode one photo; raises `PhotoError`, and may have ended then."""
        request = {"bytes": len(data), "limits": asdict(limits), "at_least": at_least}
        with suppress(BrokenPipeError):  # there is no reply then
            for part in (json.dumps(request).encode() + b"\n", data):
                self._write(part)
        reply = self._reply()
        if reply is None:
            raise self._ended(limits)
        _spend(reply["cpu_s"])
        if "shape" in reply:
            pixels = np.empty(reply["shape"], np.uint8)
            if self._read_into(pixels.data.cast("B")):
                return pixels
            raise self._ended(limits)
        if reply["error"] == "MemoryError":
            raise _over_memory()
        raise _ERRORS[reply["error"]](reply["message"])

    def end(self) -> int:
        """End the process; it does so by itself with its input. Return its exit status."""
        self.disown()
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def disown(self) -> None:
        """Close this process's ends of the pipes."""
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):
                pipe.close()

    def _write(self, content: bytes | bytearray) -> None:
        left = memoryview(content)
        while left:
            left = left[self._stdin.write(left) :]

    def _reply(self) -> dict[str, Any] | None:
        """Wait for a reply; None if the process has ended or doesn't come to it."""
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if not poll.poll(1000 * _WAIT_S):
            self._process.kill()
        line = self._stdout.readline()
        return json.loads(line) if line else None

    def _read_into(self, pixels: memoryview) -> bool:
        while pixels:
            if not (n := os.readv(self._stdout.fileno(), [pixels])):
                return False
            pixels = pixels[n:]
        return True

    def _ended(self, limits: "PhotoLimits") -> PhotoError:
        """Say why the process has ended while it decoded a photo."""
        status = -self.end()
        _spend(limits.max_cpu_s)
        if status in (signal.SIGPROF, signal.SIGKILL):
            return PhotoTooSlow(
                f"the photo takes more than {limits.max_cpu_s:.2g} s of CPU to decode, as much as it "
                "may; send a smaller one, or a JPEG"
            )
        if status in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            return UnreadableImage("the photo makes its decoder crash; save it again")
        return _over_memory()


_idle: list[_Decoder] = []
_cpu_s = 0.0


def decode(data: bytes | bytearray, limits: "PhotoLimits", at_least: int) -> "RGB":
    """Decode the photo in `data` as `model.image.decode_here` does, in a child process.

    Raises:
        PhotoTooCostly: it takes more than `limits.max_cpu_s` of CPU or `MEMORY_BYTES`.
        PhotoError: see `model.image.decode_photo`.
        FlyobjError: no child process can be started.
    """
    try:
        decoder = _idle.pop()
    except IndexError:
        decoder = _Decoder()
    try:
        return decoder.decode(data, limits, at_least)
    finally:
        if decoder.running and len(_idle) < (os.cpu_count() or 1):
            _idle.append(decoder)
        else:
            decoder.end()


def children_cpu_s() -> float:
    """CPU seconds that children have taken for this process's photos so far."""
    return _cpu_s


def _spend(cpu_s: float) -> None:
    global _cpu_s
    _cpu_s += cpu_s


def _over_memory() -> PhotoTooCostly:
    return PhotoTooCostly(
        f"the photo takes more than {MEMORY_BYTES // 2**20} MiB of memory to decode, as much as it may; "
        "send a smaller one, or a JPEG"
    )


@atexit.register
def end_idle() -> None:
    """End the children that decode nothing now; the next photo starts another."""
    while _idle:
        _idle.pop().end()


def _forget_idle() -> None:
    """In a forked process: they are its parent's, and end only when nobody holds their pipes."""
    while _idle:
        _idle.pop().disown()


os.register_at_fork(after_in_child=_forget_idle)
