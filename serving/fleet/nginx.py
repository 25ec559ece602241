"""A stock nginx in a folder of its own: its files are written in one step, and it reads them anew.

An nginx that reads its files anew starts new worker processes, and lets the old ones finish what they
have begun.
"""

import os
import signal
from pathlib import Path

import psutil

from model.errors import FlyobjError
from serving.stock import stock_file


def install(proxy: Path, stock: str, changes: dict[str, str]) -> None:
    """Write nginx.conf from `deploy/nginx/STOCK` unless there is one: it may have been edited."""
    (proxy / "logs").mkdir(parents=True, exist_ok=True)
    if (proxy / "nginx.conf").exists():  # a certificate, other limits
        return
    text = stock_file(f"deploy/nginx/{stock}").read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    (proxy / "nginx.conf").write_text(text, encoding="utf-8")


def write(proxy: Path, name: str, text: str) -> bool:
    """Replace a file that nginx.conf includes and let nginx read it; True if nginx runs."""
    partial = proxy / f".{name}.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(proxy / name)
    master = _master(proxy)
    if master is None:
        return False
    try:
        os.kill(master.pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise FlyobjError(f"nginx of {str(proxy)!r} is another user's; reload it yourself") from error
    return True


def workers(proxy: Path) -> list[psutil.Process]:
    """List the worker processes, those that finish what they have begun among them."""
    master = _master(proxy)
    return master.children() if master else []


def _master(proxy: Path) -> psutil.Process | None:
    try:
        return psutil.Process(int((proxy / "nginx.pid").read_text()))
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
