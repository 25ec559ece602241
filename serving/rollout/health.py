"""Whether a server lives and is ready, for people and for probes.

TorchServe's `/ping` says Healthy while workers load, and while they crash and are started again. So
ready means: the default version of `deployment.json` is the server's, has a READY worker, and answers a
golden photo of its archive as training did. Living means only that the server answers: workers that
crash at start wouldn't be mended by another start of the server, and other versions would go with it.
"""

import time
from collections.abc import Callable
from pathlib import Path

from model.errors import FlyobjError
from model.golden import difference
from serving.archive.build import read_golden_photos
from serving.rollout.deployment import read_deployment
from serving.rollout.quiesce import WorkersBusy, hold_workers
from serving.server.client import Client
from serving.server.lifecycle import Server, find
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
            return f"no server runs with home {str(home)!r}"
        with Client(server, timeout_s=PROBE_TIMEOUT_S) as client:
            return question(client)
    except FlyobjError as error:
        return str(error)


def stop(home: Path, drain_s: float) -> tuple[bool, int]:
    """End the server of this home once nobody waits for an answer, or after `drain_s`.

    Returns:
        Whether one ran, and how many requests waited in its queues when it ended.
    """
    server = find(home)
    waiting = _drain(server, drain_s) if server and drain_s else 0
    return end(home), waiting


def _check_answer(client: Client) -> str | None:
    deployment = read_deployment(client.store)
    if deployment.default is None:
        return "nothing is deployed; `flyobj models deploy ARCHIVE` does it"
    found = find_version(client, deployment.default)
    if found is None or not found.default:
        return f"version {deployment.default} isn't the server's default; see `flyobj models diff`"
    if not found.ready:
        return f"none of the {found.workers} workers of version {found.version} is ready"
    archive = client.store / deployment.versions[found.version].archive
    golden = read_golden_photos(archive)[0]
    return difference(golden, client.predict(golden.photo))


def _drain(server: Server, timeout_s: float) -> int:
    """Wait until nothing waits and nothing runs; returns how many still wait."""
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
                        return 0
                time.sleep(_IDLE_POLL_S)
            return waiting
    except WorkersBusy:
        return max(1, waiting)
    except FlyobjError:  # whatever it is, the server is to end
        return 0
