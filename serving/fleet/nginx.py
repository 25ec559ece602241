"""A stock nginx in a folder of its own: its files are replaced in one step, and it reloads them.

An nginx that reloads starts new worker processes, and lets the old ones finish what they have begun.
"""

import os
import signal
from pathlib import Path

import psutil

from model.errors import FlyobjError
from model.files import atomic_file, read_text, write_text
from serving.stock import stock_file

CONF, KEYS, CANARY = "nginx.conf", "keys.conf", "canary.conf"
PASS_ON = "torchserve"  # stands for everybody in keys.conf: TorchServe checks their tokens itself


def install(proxy: Path, changes: dict[str, str]) -> str:
    """Return nginx.conf; it is made of the stock one where there is none, as it may be edited."""
    (proxy / "logs").mkdir(parents=True, exist_ok=True)
    path = proxy / CONF
    if not path.exists():
        text = stock_file("deploy/nginx/nginx.conf").read_text(encoding="utf-8")
        for old, new in changes.items():
            text = text.replace(old, new)
        write_new(proxy / CANARY, split("", 0))
        write_text(text, path)
    return read(path)


def read(path: Path) -> str:
    """Read a file of the folder."""
    return read_text(path, "remove it, and it is made anew")


def split(version: str, percent: float) -> str:
    """Return canary.conf: the share of `version` among the requests that name none."""
    share = f'    {percent:.2f}% "/{version}";\n' if 0 < percent < 100 else ""
    rest = f'"/{version}"' if percent >= 100 else '""'
    return f"split_clients $request_id $canary {{\n{share}    * {rest};\n}}\n"


def write_new(path: Path, text: str) -> None:
    """Write a file unless it is there; keys for their owner's eyes alone."""
    if not path.exists():
        (write_private if path.name == KEYS else write_text)(text, path)


def write_private(text: str, path: Path) -> None:
    """Write a file that only its owner can read."""
    with atomic_file(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8")


def write(proxy: Path, name: str, text: str) -> bool:
    """Replace a file that nginx.conf includes and let nginx read it; True if nginx runs."""
    (write_private if name == KEYS else write_text)(text, proxy / name)
    master = _master(proxy)
    if master is None:
        return False
    try:
        os.kill(master.pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise FlyobjError(
            f"nginx of {str(proxy)!r} belongs to another user; reload it yourself"
        ) from error
    return True


def workers(proxy: Path) -> list[psutil.Process]:
    """List the worker processes, those that finish what they have begun among them."""
    master = _master(proxy)
    return master.children() if master else []


def _master(proxy: Path) -> psutil.Process | None:
    try:
        return psutil.Process(int((proxy / "nginx.pid").read_text()))
    except (OSError, ValueError, OverflowError, psutil.NoSuchProcess):
        return None
