"""Decoding in a process of its own, which costs no more time and memory than it is given.

A photo of a few kilobytes can keep a decoder busy for minutes or make it ask for gigabytes, in ways
that no check of its header foresees, and some crash it. So whatever isn't a small, ordinary JPEG is
decoded in a child process (`model.decoder_process`). The system ends that when its CPU time is used up
and refuses it memory, and then the photo is refused, alone. The child is kept for the next photo; one
that has ended is replaced. One that fails when it has decoded others may suffer from what they left in
it, so its photo gets a second try, in a new one. Threads have a child each, forked processes their own.
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
from typing import Any

import numpy as np

from model.errors import (
    FlyobjError,
    PhotoError,
    PhotoTooCostly,
    PhotoTooLarge,
    PhotoTooSlow,
    TooBusy,
    UnreadableImage,
    UnsupportedFormat,
)
from model.limits import RGB, PhotoLimits

# Of a child, above what it starts with. The pixels of the largest photo take 150 MB here, the body more.
MEMORY_BYTES = 768 * 2**20
_START_S = 30  # by the clock, for a child to be ready
_PIPE_BYTES = 2**20  # fewer turns between the two processes than with Linux's 64 KiB
_ERRORS: dict[str, type[PhotoError]] = {
    error.__name__: error for error in (PhotoTooLarge, UnreadableImage, UnsupportedFormat)
}


class _Decoder:
    """One child process."""

    def __init__(self) -> None:
        """Start it; it is ready some 0.1 s later."""
        here = Path(__file__).resolve()
        script = str(here.with_name("decoder_process.py"))
        paths = [str(here.parents[1]), *filter(None, sys.path)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", script, str(MEMORY_BYTES), *paths],
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
        self._is_ready, self._noted_s = False, 0.0
        self._decoded = 0  # photos
        self.may_suffer = False  # whether it failed for what photos before this one left in it

    @property
    def running(self) -> bool:
        """Whether it can decode another photo."""
        return self._process.returncode is None

    def decode(self, data: bytes | bytearray, limits: PhotoLimits, at_least: int) -> RGB:
        """Decode one photo; raises `PhotoError`, and may have ended then."""
        if not self._is_ready and self._reply(_START_S) is None:
            status, _ = self.end()
            raise FlyobjError(f"the process that decodes photos doesn't start (exit status {status})")
        self._is_ready = True
        request = {"bytes": len(data), "limits": asdict(limits), "at_least": at_least}
        with suppress(BrokenPipeError):  # there is no reply then
            for part in (json.dumps(request).encode() + b"\n", data):
                self._write(part)
        reply = self._reply(limits.max_wall_s)
        if reply is None:
            raise self._why_ended(limits)
        if reply.get("error") == "MemoryError":
            self.end()
            raise self._fail(_over_memory())
        self._decoded += 1
        if "shape" in reply:
            pixels = np.empty(reply["shape"], np.uint8)
            if self._read_into(pixels.data.cast("B")):
                return pixels
            raise self._why_ended(limits)
        raise _ERRORS[reply["error"]](reply["message"])

    def end(self) -> tuple[int, float]:
        """End the process, if it hasn't. Return its exit status and the CPU seconds of its life."""
        self.disown()
        pid, self._process.returncode, cpu_s = self._process.pid, -signal.SIGKILL, self._noted_s
        with suppress(ProcessLookupError, ChildProcessError):  # somebody else has waited for it
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            cpu_s = usage.ru_utime + usage.ru_stime
        return self._process.returncode, cpu_s

    def disown(self) -> None:
        """Close this process's ends of the pipes."""
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):
                pipe.close()

    def forget(self) -> None:
        """Leave it to another process."""
        self.disown()
        self._process.returncode = 0  # it isn't waited for

    def _write(self, content: bytes | bytearray) -> None:
        left = memoryview(content)
        while left:
            left = left[self._stdin.write(left) :]

    def _reply(self, wait_s: float) -> dict[str, Any] | None:
        """Wait for a reply; None if the process has ended. Raises `TooBusy` after `wait_s`."""
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if not poll.poll(1000 * wait_s):
            _, life_s = self.end()
            self._spend(life_s)
            raise TooBusy(
                f"the photo takes more than {wait_s:.2g} s to decode beside what else runs; send it "
                "again, or a smaller one"
            )
        line = self._stdout.readline()
        reply: dict[str, Any] | None = json.loads(line) if line else None
        if reply:
            self._spend(reply["cpu_s"])
        return reply

    def _read_into(self, pixels: memoryview) -> bool:
        while pixels:
            if not (n := os.readv(self._stdout.fileno(), [pixels])):
                return False
            pixels = pixels[n:]
        return True

    def _spend(self, life_s: float) -> None:
        """Note the CPU seconds of the process's life so far."""
        global _cpu_s
        _cpu_s += life_s - self._noted_s
        self._noted_s = life_s

    def _why_ended(self, limits: PhotoLimits) -> PhotoError:
        """End the process, which hasn't decoded a photo, and say why."""
        status, life_s = self.end()
        self._spend(life_s)
        if status == -signal.SIGPROF:
            return PhotoTooSlow(
                f"the photo takes more than {limits.max_cpu_s:.2g} s of CPU to decode, as much as it "
                "may; send a smaller one, or a JPEG"
            )
        if status in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
            return self._fail(UnreadableImage("the photo makes its decoder crash; save it again"))
        return self._fail(_over_memory())

    def _fail(self, error: PhotoError) -> PhotoError:
        self.may_suffer = self._decoded > 0
        return error


_idle: list[_Decoder] = []
_cpu_s = 0.0


def decode(data: bytes | bytearray, limits: PhotoLimits, at_least: int) -> RGB:
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
        try:
            return decoder.decode(data, limits, at_least)
        except PhotoError:
            if not decoder.may_suffer:
                raise
            decoder = _Decoder()
            return decoder.decode(data, limits, at_least)
    finally:
        if not decoder.running:
            decoder = _Decoder()  # while it starts there is other work
        if len(_idle) < (os.cpu_count() or 1):
            _idle.append(decoder)
        else:
            decoder.end()


def children_cpu_s() -> float:
    """CPU seconds that children have taken for this process's photos so far."""
    return _cpu_s


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
        _idle.pop().forget()


os.register_at_fork(after_in_child=_forget_idle)
