"""Making a version ready: registered, its workers READY, its golden photos answered as in training.

Readiness is never taken from `/ping`, which says Healthy while workers load or crash. Registering
doesn't block, since a synchronous call makes other clients of the management API wait.
"""

import contextlib
import time

from model.errors import FlyobjError
from model.golden import difference
from report.progress import progress
from serving.archive.build import Archive
from serving.rollout.archive_variant import archive_to_register
from serving.rollout.default_workers import workers_for
from serving.rollout.deployment import DeployedVersion
from serving.rollout.quiesce import hold_workers
from serving.server.client import Client, ServerError
from serving.server.connection import NoAnswer
from serving.server.versions import Version, find_version

READY_TIMEOUT_S = 180
CONFLICT = 409  # the status of registering a version that is there
_POLL_S = 0.2


def bring_up(client: Client, archive: Archive, deployed: DeployedVersion) -> Version:
    """Register an archive of the store and make it ready; it is removed again if that fails."""
    name = archive_to_register(archive, deployed, client.server)
    try:
        client.register(name)
        version = wait_ready(client, archive.version)
        workers = deployed.workers or workers_for(client.server)
        if workers and workers != version.workers:
            version = set_workers(client, archive.version, workers)
        check_golden(client, archive)
    except BaseException as error:  # Ctrl-C too leaves no version behind
        somebody_elses = isinstance(error, ServerError) and error.status == CONFLICT
        # What a network that broke holds back arrives when it is whole again: this call then, in the
        # middle of the next try. That one finds what is left.
        cut_off = isinstance(error, NoAnswer) and error.timed_out
        with contextlib.suppress(FlyobjError):
            if not somebody_elses and not cut_off:
                client.unregister(archive.version)
        raise
    return version


def check_golden(client: Client, archive: Archive) -> None:
    """Let the server answer the archive's golden photos; raises where training answered otherwise."""
    for golden in archive.golden:
        if found := difference(golden, client.predict(golden.photo, archive.version)):
            raise FlyobjError(f"version {archive.version} answers wrongly: {found}")


def set_workers(client: Client, version: str, workers: int, timeout_s: float = 30) -> Version:
    """Start workers, or take some away while none has a request."""
    found = find_version(client, version)
    if found and workers < found.workers:
        with hold_workers(client, version, timeout_s) as pause:
            pause.scale_down(workers)
    else:
        client.scale(version, workers)
    return wait_ready(client, version)


def wait_ready(client: Client, version: str) -> Version:
    """Poll until all workers are READY; a worker whose process was replaced has crashed."""
    until = time.monotonic() + READY_TIMEOUT_S
    pids: dict[str, int] = {}
    with progress(f"version {version} starts") as advance:
        while time.monotonic() < until:
            current = find_version(client, version)
            entry = client.versions().get(version)
            if current is None or entry is None:
                raise FlyobjError(f"the server dropped version {version}{_see_logs(client)}")
            for worker in entry["workers"]:
                pid = int(worker.get("pid") or -1)
                if pid > 0 and pids.setdefault(worker["id"], pid) != pid:
                    raise FlyobjError(
                        f"a worker of version {version} crashed at start{_see_logs(client)}"
                    )
            if current.is_ready:
                return current
            advance(0, f"version {version}: {current.ready} of {current.workers} workers ready")
            time.sleep(_POLL_S)
    raise FlyobjError(f"version {version} wasn't ready within {READY_TIMEOUT_S} s{_see_logs(client)}")


def _see_logs(client: Client) -> str:
    return f"; see workers.log in {client.logs}"
