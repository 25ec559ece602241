"""Decodes photos for another process, within limits on time and memory that the system enforces.

Started by `model.decoder` as a script that sees the modules that its parent sees:

    python -I -S decoder_process.py MEMORY_BYTES PATH...

A request on standard input is a line of JSON and the bytes of the photo, a reply on standard output a
line of JSON and the pixels. The first line there says that it is ready. It ends with its input, so with
its parent.
"""

import json
import logging
import os
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import IO, Any


def main(memory_bytes: int) -> None:
    """Answer requests until there are no more."""
    from model.malloc import return_memory

    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    _silence_libraries()
    warnings.simplefilter("ignore")  # Pillow's, of damaged metadata, would fill the log
    logging.disable()  # so would its errors
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return_memory()
    _warm_up()
    most = _mapped_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _send(replies, {})
    for line in requests:
        request = json.loads(line)
        _answer(replies, requests.read(request["bytes"]), request)


def _answer(replies: IO[bytes], data: bytes, request: dict[str, Any]) -> None:
    """Decode one photo; on running out of CPU time the system ends this process."""
    from model.errors import PhotoError
    from model.image import decode_here
    from model.limits import PhotoLimits

    # SIGPROF's default action is to end the process, in the middle of whatever a library does.
    signal.setitimer(signal.ITIMER_PROF, request["limits"]["max_cpu_s"])
    reply: dict[str, Any] = {}
    pixels = None
    try:
        pixels = decode_here(data, PhotoLimits(**request["limits"]), request["at_least"])
        reply["shape"] = pixels.shape
    except PhotoError as error:
        reply["error"], reply["message"] = type(error).__name__, str(error)
    except MemoryError:
        reply["error"], reply["message"] = "MemoryError", ""
    signal.setitimer(signal.ITIMER_PROF, 0)
    _send(replies, reply, pixels)


def _send(replies: IO[bytes], reply: dict[str, Any], pixels: Any = None) -> None:
    reply["cpu_s"] = time.process_time()  # so far
    replies.write(json.dumps(reply).encode() + b"\n")
    if pixels is not None:
        replies.write(pixels.data)
    replies.flush()


def _silence_libraries() -> None:
    """Drop what they print: libtiff writes a line for each damaged row. Python's errors still come."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _warm_up() -> None:
    """Import what decoding needs, as the limit on memory is counted from there."""
    from PIL import AvifImagePlugin, Image

    import model.image  # noqa: F401

    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # this process stands for one core


def _mapped_bytes() -> int:
    """The address space in use: proc(5), /proc/pid/statm."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


if __name__ == "__main__":
    limit, *sys.path[:] = sys.argv[1:]
    main(int(limit))
