"""Whether a server lives and is ready, for people and for probes.

TorchServe's `/ping` says Healthy while workers load, and while they crash and are started again. So
ready means: the default version of `deployment.json` is the server's, has a READY worker, and answers a
golden photo of its archive as training did. Living means only that the server answers: workers that
crash at start wouldn't be mended by another start of the server, and other versions would go with it.
"""

import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from model.errors import FlyobjError, InputError
from model.golden import difference
from serving.archive.build import read_golden_photos
from serving.rollout.deployment import read_deployment
from serving.rollout.quiesce import WorkersBusy, hold_workers
from serving.rollout.store import how_to_deploy
from serving.server.client import Client
from serving.server.launch import PID_FILE
from serving.server.lifecycle import Server, find, how_to_start
from serving.server.lifecycle import stop as end
from serving.server.versions import find_version, list_versions

PROBE_TIMEOUT_S = 5.0
_IDLE_POLL_S = 0.2


def why_not_live(home: Path) -> str | None:
    """Say why the server of this home doesn't live, or None."""

    def answers(client: Client) -> None:
        client.versions()

    return _probe(home, answers)


def why_not_ready(home: Path) -> str | None:
    """Say why the server of this home can't answer photos, or None."""
    return _probe(home, _check_answer)


def _probe(home: Path, question: Callable[[Client], str | None]) -> str | None:
    """Put a question to the server of this home; what keeps it from answering is an answer too."""
    try:
        if (server := find(home)) is None:
            return f"no server runs with home {str(home)!r}; {how_to_start(home)}"
        with Client(server, timeout_s=PROBE_TIMEOUT_S) as client:
            return question(client)
    except FlyobjError as error:
        return str(error)


def stop(home: Path, drain_s: float) -> tuple[bool, str | None]:
    """End the server of this home once nobody waits for an answer, or after `drain_s`.

    Returns:
        Whether one ran, and why requests may have been cut off; None if none was, or `drain_s` is 0.
    """
    why_not = None
    if drain_s:
        try:
            why_not = _why_not_drained(server, drain_s) if (server := find(home)) else None
        except InputError as error:  # its server.json is damaged
            why_not = str(error)
    return end(home), why_not


def _check_answer(client: Client) -> str | None:
    deployment = read_deployment(client.store)
    if deployment.default is None:
        return f"nothing is deployed yet; `{how_to_deploy(client)}`"
    found = find_version(client, deployment.default)
    if found is None or not found.default:
        see = client.command("models diff")
        return f"version {deployment.default} isn't the server's default; see `{see}`"
    if not found.ready:
        return f"none of the {found.workers} workers of version {found.version} is ready"
    archive = client.store / deployment.versions[found.version].archive
    golden = read_golden_photos(archive)[0]
    if missing := _missing_file(client, found.version, archive):
        return (
            f"{str(missing)!r} was removed from the server's temporary folder, so no worker can be "
            "started again; stop and start the server"
        )
    return difference(golden, client.predict(golden.photo))


def _missing_file(client: Client, version: str, archive: Path) -> Path | None:
    """Find what isn't where the server or a worker of `version` has put it, or None."""
    folder = client.server.scratch_folder if isinstance(client.server, Server) else Path()
    needed = [folder / PID_FILE]
    with zipfile.ZipFile(archive) as files:
        names = files.namelist()
    for worker in client.versions()[version]["workers"]:
        with suppress(psutil.Error):
            unpacked = Path(psutil.Process(int(worker["pid"])).cwd())
            needed += [unpacked / name for name in names]
    return next((path for path in needed if not path.exists()), None)


def _why_not_drained(server: Server, timeout_s: float) -> str | None:
    """Wait until nothing waits and nothing runs; say why that can't be awaited, or None."""
    until, waiting = time.monotonic() + timeout_s, 0
    try:
        with Client(server, timeout_s=PROBE_TIMEOUT_S) as client:
            while (left := until - time.monotonic()) > 0:
                versions = list_versions(client)
                waiting = sum(v.waiting for v in versions)
                if not waiting:
                    for version in versions:
                        if version.ready:
                            with hold_workers(client, version.version, left):
                                pass  # the batches before it are answered
                    if not any(v.waiting for v in list_versions(client)):
                        return None
                time.sleep(_IDLE_POLL_S)
    except WorkersBusy:
        pass
    except FlyobjError as error:  # whatever it is, the server is to end
        return str(error)
    return f"{waiting or 'some'} requests were still waiting after {timeout_s:g} s"
