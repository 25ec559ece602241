"""A stock nginx in a folder of its own: its files are replaced in one step, and it reloads them.

An nginx that reloads starts new worker processes, and lets the old ones finish what they have begun.
"""

import os
import signal
from pathlib import Path

import psutil

from model.errors import FlyobjError
from model.files import read_text, write_text
from serving.stock import stock_file


def install(proxy: Path, stock: str, changes: dict[str, str]) -> str:
    """Return nginx.conf; it is made of `deploy/nginx/STOCK` where there is none, as it may be edited."""
    (proxy / "logs").mkdir(parents=True, exist_ok=True)
    path = proxy / "nginx.conf"
    if path.exists():  # a certificate, other limits
        return read_text(path, "remove it, and it is made anew")
    text = stock_file(f"deploy/nginx/{stock}").read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    write_text(text, path)
    return text


def write(proxy: Path, name: str, text: str) -> bool:
    """Replace a file that nginx.conf includes and let nginx read it; True if nginx runs."""
    write_text(text, proxy / name)
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
