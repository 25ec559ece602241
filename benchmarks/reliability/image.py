"""Does the image do what is said of it? Built and tried with docker or podman, as compose would run it.

It becomes ready, answers as training did, has no rights and no code of training, answers what it has
taken when it is stopped, comes back after kill -9, and outlives full file systems and a memory limit.
The network is the host's, so that clients reach 127.0.0.1. The last line is the result as JSON; the exit
code is 1 if something failed.

    python -m benchmarks.reliability.image [--engine podman] [--run RUN] [--memory 2g]
"""

import random
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from rich.table import Table

from benchmarks.program import console, parser_of, run
from benchmarks.reliability.containers import Engine, Failed, add_engine, engine_with
from benchmarks.reliability.costly_photos import PHOTOS
from benchmarks.reliability.small_run import Subject, add_run, package
from model.errors import FlyobjError
from serving.archive.build import sha256
from serving.rollout.deployment import DeployedVersion, Deployment, write_deployment
from serving.server.ports import free_port

IMAGE = "flying-objects:0.1.0"
HOME = ("--home", "/var/lib/flyobj/server")
READY_S, STOP_S = 300.0, 75  # as compose.yaml has it
BURST = 40  # requests under way when it is stopped
# As compose.yaml, but for the network and the port.
HARDENED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--tmpfs", "/tmp:size=256m,mode=1777", "--tmpfs", "/var/lib/flyobj:size=512m,mode=1777"),
)
Check = Callable[["Trial"], str]


class Trial:
    """A container of the image that runs."""

    def __init__(self, engine: Engine, name: str, port: int, photo: bytes) -> None:
        """Ask it on `port` with `photo`."""
        self.engine, self.name, self.photo = engine, name, photo
        self.url = f"http://127.0.0.1:{port}/predictions/flying_objects"

    def inside(self, *command: object) -> str:
        """Run a command in the container."""
        return self.engine("exec", self.name, *command)

    def tries(self, *command: object) -> bool:
        """Whether a command in the container ends with 0."""
        return self.engine.succeeds("exec", self.name, *command)

    def wait_until_ready(self) -> float:
        """Wait for the image's own health check; returns the seconds that it took."""
        started = time.monotonic()
        while not self.tries("flyobj", "status", "--ready", *HOME):
            state = self.engine("inspect", "--format", "{{.State.Running}}", self.name)
            if state != "true" or time.monotonic() > started + READY_S:
                raise Failed(f"not ready: {self.engine('logs', self.name, check=False)[-800:]}")
            time.sleep(0.5)
        return time.monotonic() - started

    def ask(self, photo: bytes | None = None) -> httpx.Response:
        """Send a photo."""
        return httpx.post(self.url, content=photo or self.photo, timeout=60, trust_env=False)

    def require_answer(self) -> None:
        """Raise `Failed` unless a photo is answered."""
        if (status := self.ask().status_code) != 200:
            raise Failed(f"a photo was answered {status}")


def becomes_ready(trial: Trial) -> str:
    """From `run` to the health check's 0, and the golden photo answered."""
    took = trial.wait_until_ready()
    trial.require_answer()
    return f"{took:.1f} s"


def has_no_rights(trial: Trial) -> str:
    """User 10001, no capabilities, no way to get some, and nothing of the image can be written."""
    status = dict(
        line.split(":\t", 1)
        for line in trial.inside("cat", "/proc/1/status").splitlines()
        if ":\t" in line
    )
    found = trial.inside("id", "-u"), int(status["CapEff"], 16), int(status["CapBnd"], 16)
    if (*found, status["NoNewPrivs"]) != ("10001", 0, 0, "1"):
        raise Failed(f"user, capabilities and new privileges are {found}, {status['NoNewPrivs']}")
    for place in ("/x", "/venv/x", "/model-store/x", "/etc/x"):
        if trial.tries("touch", place):
            raise Failed(f"{place} can be written")
    return "user 10001, CapEff 0"


def holds_serving_alone(trial: Trial) -> str:
    """Nothing of training, load tests and benchmarks; a command of theirs says so."""
    for room in ("training", "loadtest", "benchmarks", "lightning_fabric", "locust"):
        if trial.tries("python", "-c", f"import {room}"):
            raise Failed(f"{room} is in the image")
    if trial.tries("flyobj", "train", "/tmp"):
        raise Failed("it trains")
    return trial.engine("image", "inspect", "--format", "{{.Size}}", IMAGE) + " bytes"


def survives_a_killed_worker(trial: Trial) -> str:
    """Kill -9 of a worker: others answer, and TorchServe starts another."""
    script = (
        "for p in /proc/[0-9]*; do grep -qa model_service_worker $p/cmdline && echo ${p#/proc/}; done"
    )
    workers = trial.inside("sh", "-c", script).split()
    trial.inside("sh", "-c", f"kill -9 {workers[-1]}")
    took = trial.wait_until_ready()
    trial.require_answer()
    return f"ready after {took:.1f} s"


def survives_full_file_systems(trial: Trial) -> str:
    """A full /tmp, then a full home: photos are answered, and room makes all well again."""
    for folder in ("/tmp", "/var/lib/flyobj"):
        trial.tries("sh", "-c", f"cat /dev/zero > {folder}/fill")
        for _ in range(5):
            trial.require_answer()
        big = trial.ask(PHOTOS["TIFF, tags that share bytes"]()).status_code  # decoded in a child
        if big not in (413, 400):
            raise Failed(f"a costly photo was answered {big} while {folder} was full")
        trial.inside("rm", f"{folder}/fill")
    trial.wait_until_ready()
    return "answered all the while"


def answers_what_it_has_taken(trial: Trial) -> str:
    """SIGTERM with requests under way: each is answered, and the container ends with 0."""
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(_status(trial))) for _ in range(BURST)]
    for thread in threads:
        thread.start()
    while not statuses:
        time.sleep(0.001)
    began = time.monotonic()
    trial.engine("stop", "--time", STOP_S, trial.name)
    took = time.monotonic() - began
    for thread in threads:
        thread.join()
    code = trial.engine("inspect", "--format", "{{.State.ExitCode}}", trial.name)
    if code != "0" or set(statuses) != {200}:
        raise Failed(f"exit code {code}, answers {sorted(set(statuses))}")
    return f"{BURST} answers, ended after {took:.1f} s"


def comes_back_after_kill(trial: Trial) -> str:
    """`kill -9` of the whole container: started again, it serves the same."""
    if not trial.engine.succeeds("start", trial.name):
        raise Failed("it can't be started again")
    trial.wait_until_ready()
    trial.engine("kill", "--signal", "KILL", trial.name)
    trial.engine("wait", trial.name)
    trial.engine("start", trial.name)
    took = trial.wait_until_ready()
    trial.require_answer()
    return f"ready after {took:.1f} s"


def keeps_to_its_memory(trial: Trial) -> str:
    """Costly photos under the limit: refused or answered, and nothing of the server is killed."""
    for make in PHOTOS.values():
        if (status := trial.ask(make()).status_code) >= 500:
            raise Failed(f"a costly photo was answered {status}")
    trial.require_answer()
    if trial.engine("inspect", "--format", "{{.State.OOMKilled}}", trial.name) != "false":
        raise Failed("the container was killed for memory")
    return "no answer of 500 and above"


CHECKS: Sequence[Check] = (
    becomes_ready,
    has_no_rights,
    holds_serving_alone,
    survives_a_killed_worker,
    survives_full_file_systems,
    answers_what_it_has_taken,
    comes_back_after_kill,
    keeps_to_its_memory,
)


def _status(trial: Trial) -> int:
    try:
        return trial.ask().status_code
    except httpx.TransportError:
        return 0


@contextmanager
def container(engine: Engine, subject: Subject, memory: str, flags: str) -> Iterator[Trial]:
    """Run the image as compose does; gives the trial, and removes the container."""
    store, port = subject.folder / "store", free_port(random.randrange(20_000, 30_000, 10))
    store.mkdir()
    shutil.copy(subject.archive, store)
    deployed = DeployedVersion(subject.archive.name, sha256(subject.archive))
    write_deployment(Deployment("1.0", {"1.0": deployed}), store)
    for folder in (*store.parents[:1], store):
        folder.chmod(0o755)
    name = f"flyobj-trial-{port}"
    limits = ("--memory", memory, "--network", "host", "--volume", f"{store}:/model-store:ro")
    served = ("--no-tokens", "--private-ports", "--port", port)
    try:
        engine(
            "run", "--detach", "--name", name, *HARDENED, *limits, *shlex.split(flags), IMAGE, *served
        )
        yield Trial(engine, name, port, subject.photo)
    finally:
        engine("rm", "--force", "--volumes", name, check=False)


def measure(engine: Engine, subject: Subject, memory: str, flags: str) -> dict[str, Any]:
    """Make each check in turn; one that fails doesn't keep the others from being made."""
    rows: list[dict[str, Any]] = []
    with container(engine, subject, memory, flags) as trial:
        for check in CHECKS:
            started = time.monotonic()
            try:
                passed, found = True, check(trial)
            except (FlyobjError, httpx.HTTPError) as error:
                passed, found = False, f"{type(error).__name__}: {error}"
            took = round(time.monotonic() - started, 1)
            rows.append({"check": check.__name__, "passed": passed, "found": found, "seconds": took})
            console.print(f"{check.__name__}: {'passed' if passed else 'FAILED'}, {found}", markup=False)
            if check is becomes_ready and not passed:
                break  # the others would say nothing
    return {"image": IMAGE, "memory": memory, "checks": rows, "passed": all(r["passed"] for r in rows)}


def show(document: dict[str, Any]) -> None:
    """Show the checks as a table."""
    table = Table("check", "", "found", "s")
    for row in document["checks"]:
        table.add_row(
            row["check"], "passed" if row["passed"] else "FAILED", row["found"], str(row["seconds"])
        )
    console.print(table)


def main() -> None:
    """Try the image from the command line."""
    parser = parser_of(__doc__)
    add_run(parser)
    add_engine(parser)
    parser.add_argument("--memory", default="2g", help="the container's limit")
    options = parser.parse_args()

    def tried() -> dict[str, Any]:
        engine = engine_with(IMAGE, options.engine, options.flags)
        with package(options.run) as subject:
            return measure(engine, subject, options.memory, options.run_flags)

    run(tried, show)


if __name__ == "__main__":
    main()
