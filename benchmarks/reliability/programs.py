"""Programs that aren't ours: found, and waited for until they listen."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress

from model.errors import FlyobjError, InputError

_START_S = 60.0


def find_program(name: str, package: str) -> str:
    """Find a program of a Debian package; not everybody's PATH has /usr/sbin, where daemons are.

    Raises:
        InputError: it isn't installed.
    """
    if found := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
        return found
    raise InputError(f"{name} isn't installed; install Debian's {package}")


def wait_for(address: str, port: int, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait until somebody listens; `process` should.

    Raises:
        FlyobjError: nobody does within a minute, or the process has ended.
    """
    until = time.monotonic() + _START_S
    while True:
        with suppress(OSError), socket.create_connection((address, port), timeout=1):
            return
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > until:
            why = "the program has ended" if ended else f"not within {_START_S:g} s"
            raise FlyobjError(f"nobody listens on {address}:{port}: {why}; its last words are above")
        time.sleep(0.1)
