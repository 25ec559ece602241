"""The life of one TorchServe: start, find again, stop.

A server has a home folder, which holds everything it writes:

    server.json        pid, ports, model store and temporary folder, while it runs
    scratch/           that folder: unpacked archives and workers' sockets
    config.properties  the product's configuration with this server's ports
    key_file.json      TorchServe's tokens (mode 0600)
    logs/              server.log, workers.log, console.log
    example.jpg        a golden photo of the version deployed last, to try
"""

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from model.errors import FlyobjError, InputError
from model.files import read_json, read_text, reading, write_json
from model.text import shell_quote, shorten
from model.typed import check_fields
from serving.server import homes
from serving.server.connection import Connection, NoAnswer
from serving.server.launch import CONFIG, last_words, launch, make_scratch, remove_scratch
from serving.server.ports import free_port, require_free
from serving.server.process_tree import end, find_process, listening_ports, option, pss_mib
from serving.stock import stock_file

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 30
_MINUTE_S = 60
_MAIN_CLASS = "org.pytorch.serve.ModelServer"
_TMPDIR = "-Djava.io.tmpdir="  # as TorchServe passes the temporary folder on to Java
_PORT_KEYS = ("inference", "management", "metrics", "gRPC inference", "gRPC management")


@dataclass(frozen=True)
class Server:
    """A running server. Management is on `port` + 1, metrics on `port` + 2, gRPC on the next two."""

    pid: int
    started: float  # the process's start, s since the epoch by the clock of that time
    port: int
    model_store: str
    home: str
    tokens: bool = True  # whether calls need one
    scratch: str = ""  # its temporary folder; empty in an older server.json
    gate: str = ""  # folder of the nginx in front of it, if it is told when to ask this server

    @property
    def inference(self) -> str:
        """Address that photos go to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def upstream(self) -> str:
        """HOST:PORT that photos go to, as nginx has it in `servers.conf`."""
        return f"127.0.0.1:{self.port}"

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
        if self.scratch:
            return Path(self.scratch)
        process = self.process()  # an older server.json doesn't say
        return Path((process and option(process, _TMPDIR)) or f"{self.home}/scratch")

    def process(self) -> psutil.Process | None:
        """Find the Java process, or None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = _words_of_java(Path(self.home)) <= set(process.cmdline())
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (psutil.Error, ValueError, OverflowError):  # no pid at all
            return None

    def require_running(self) -> None:
        """Raise `NoAnswer` unless this address is still that of the home's server, started again or not.

        Another program may have the port of a server that ended; it gets neither photos nor tokens.
        """
        now = find(Path(self.home))
        if now is None or now.port != self.port:
            where = f"it is on port {now.port} now" if now else "it has ended"
            raise NoAnswer(f"the server at {self.inference} doesn't answer: {where}", timed_out=False)
        if now.tokens:
            _require_listening(now.pid, now.started, now.port)


def find(home: Path) -> Server | None:
    """Find the server that runs with this home."""
    server = _read_server(home)
    return server if server and server.process() else None


def require(home: Path) -> Server:
    """Find the server that runs with this home, or say how to start one."""
    server = find(home)
    if server is None:
        raise InputError(f"no server runs with home {str(home)!r}; {how_to_start(home)}")
    return server


def how_to_start(home: Path) -> str:
    """Say what starts a server with this home, and where others run."""
    others = [f"--home {shell_quote(shorten(s.home))} (port {s.port})" for s in list_running()]
    elsewhere = f", or name the one that is meant: {', '.join(others)}" if others else ""
    return f"start one with `{homes.command('serve --detach', home=home)}`{elsewhere}"


def list_running() -> list[Server]:
    """List this user's servers on this machine, but for those whose start couldn't be noted."""
    found = []
    for home in homes.remembered():
        with suppress(InputError, OSError):  # a damaged server.json: `stop --home` ends it all the same
            if server := find(home):
                found.append(server)
            else:
                homes.forget(home)
    return found


def start(
    home: Path,
    port: int,
    store: Path,
    config: Path | None = None,
    tokens: bool = True,
    gate: Path | None = None,
) -> Server:
    """Start TorchServe in the background and wait until its ports answer.

    Args:
        home: folder of its pid, tokens and logs.
        port: the first of five.
        store: folder of the archives; the server only reads it.
        config: settings; our `config.properties` by default. Addresses and ports in it don't
            count.
        tokens: whether calls need one; without, whoever reaches the ports may do anything.
        gate: the folder of the nginx that asks it, which is kept in `server.json`.

    Raises:
        InputError: one runs with this home already, a port is taken, or the home can't be used.
        FlyobjError: it didn't come up; the message has its last words.
    """
    if found := find(home):
        raise InputError(
            f"a server with home {str(home)!r} runs already (pid {found.pid}, port {found.port}); "
            f"stop it with `{homes.command('stop', home=home)}` or give another --home"
        )
    if not 1024 <= port <= 65000:
        raise InputError(f"port {port} must be from 1024 to 65000 (it and the next four are used)")
    for other in list_running():
        if abs(other.port - port) < len(_PORT_KEYS):
            raise InputError(
                f"the server with home {other.home!r} has ports {other.port} to {other.port + 4}; "
                f"stop it with `{homes.command('stop', home=other.home)}` or give --port {free_port()}"
            )
    config = config or stock_file("config.properties")
    settings = read_text(config, "give a configuration like config.properties")
    for name, number in zip(_PORT_KEYS, range(port, port + 5), strict=True):
        require_free(number, name)
    home, store = home.resolve(), store.resolve()
    try:
        for folder in (home / "logs", store):
            folder.mkdir(parents=True, exist_ok=True)
        stop(home)  # what a server that was killed has left
        scratch = make_scratch(home)
    except OSError as error:
        raise InputError(
            f"{str(error.filename)!r} can't be written ({error.strerror}); give another --home or "
            "--model-store"
        ) from error
    try:
        process = launch(home, port, store, settings, tokens, scratch)
        place = port, str(store), str(home), tokens, str(scratch), str(gate.resolve() if gate else "")
        server = Server(process.pid, process.create_time(), *place)
        write_json(asdict(server), home / "server.json")
        homes.remember(home)
        _wait_until_listening(server)
    except BaseException:  # Ctrl-C too leaves no server behind
        _end(_find_java(home), home, scratch)
        raise
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
    raise FlyobjError(f"the server ended by itself:\n{last_words(Path(server.home))}")


def stop(home: Path) -> bool:
    """End the server of this home and its workers by their pids; False if none ran.

    A `server.json` that can't be read is no reason to leave it running.
    """
    try:
        server = _read_server(home)
        process = server.process() if server else None
        scratch = server.scratch_folder if server else None
    except InputError:
        process = _find_java(home.resolve())
        scratch = Path(option(process, _TMPDIR)) if process else None
    _end(process, home, scratch)
    return process is not None


def memory_mib(server: Server) -> dict[str, float]:
    """Proportional set size of Java and of each worker process, MiB."""
    process = server.process()
    return pss_mib(process) if process else {}


def _find_java(home: Path) -> psutil.Process | None:
    """Find the process of a home that doesn't say which it is."""
    return find_process(_words_of_java(home))


def _words_of_java(home: Path) -> set[str]:
    """Words by which the command line of a home's server is known, whatever the clock was set to."""
    return {_MAIN_CLASS, str(home / CONFIG)}


def _end(process: psutil.Process | None, home: Path, scratch: Path | None) -> None:
    """End a server, if there is one, and remove what is of use only while it runs."""
    if process:
        end(process, _STOP_TIMEOUT_S)  # Java ends its workers itself
    homes.forget(home)
    for name in ("server.json", "key_file.json"):
        with suppress(OSError):
            (home / name).unlink()
    if scratch:
        remove_scratch(scratch)


def _read_server(home: Path) -> Server | None:
    """Read what the server of this home, which may have ended, wrote of itself."""
    path = home / "server.json"
    if not path.exists():
        return None
    remedy = f"`{homes.command('stop', home=home)}` ends its server"
    document = read_json(path, remedy=remedy)
    known = {field.name: document[field.name] for field in fields(Server) if field.name in document}
    with reading(path, remedy):
        check_fields(Server, known, repr(str(path)), remedy)
        return Server(**known)


@functools.cache  # an error isn't kept
def _require_listening(pid: int, started: float, port: int) -> None:
    """Raise `NoAnswer` unless this process is the one that listens on the ports of a server."""
    del started  # tells processes of one pid apart
    if missing := {port, port + 1} - listening_ports(pid):
        raise NoAnswer(f"the server with pid {pid} doesn't listen on {sorted(missing)}", timed_out=False)


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
    what = f"didn't come up within {_START_TIMEOUT_S} s" if server.process() else "ended as it started"
    raise FlyobjError(f"TorchServe {what}:\n{last_words(home)}")
