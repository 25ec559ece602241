"""Versions of the model on a running server: deploy, promote, and bring back after a restart.

Readiness is never taken from `/ping`, which says Healthy while workers load or crash: a version is
ready when all its workers are READY and it answers its archive's golden photos as training did.
"""

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rich import get_console

from model.errors import FlyobjError, InputError
from model.golden import difference
from serving.archive import MODEL_NAME, Archive, read_archive, sha256
from serving.client import Client, ServerError
from serving.deployment import Deployed, read_deployment, write_deployment

_READY_TIMEOUT_S = 180
_POLL_S = 0.2


@dataclass(frozen=True)
class Version:
    """A version on the server."""

    version: str
    default: bool
    ready: int  # workers that are READY
    workers: int  # workers that should be
    batch_size: int
    max_batch_delay_ms: int
    archive: str

    @property
    def is_ready(self) -> bool:
        """Whether every worker is READY."""
        return self.workers > 0 and self.ready >= self.workers


def list_versions(client: Client) -> list[Version]:
    """List the registered versions."""
    default = client.default_version()
    return [
        Version(
            name,
            name == default,
            sum(worker["status"] == "READY" for worker in entry["workers"]),
            int(entry["minWorkers"]),
            int(entry["batchSize"]),
            int(entry["maxBatchDelay"]),
            Path(entry["modelUrl"]).name,
        )
        for name, entry in sorted(client.versions().items())
    ]


def deploy(client: Client, path: Path) -> Version:
    """Register an archive beside what is served, check its answers, and record it.

    The first version becomes the default, later ones wait for `promote`. A version that doesn't come
    up or answers wrongly is removed again.
    """
    store = Path(client.server.model_store)
    archive = read_archive(path)
    if archive.model != MODEL_NAME:
        raise InputError(f"{str(path)!r} holds model {archive.model!r}, not {MODEL_NAME!r}")
    if archive.version in client.versions():
        raise InputError(
            f"version {archive.version} is deployed already; package the model under another --version"
        )
    deployment = read_deployment(store)  # now: a damaged one must not cost a deployed version
    copied = _into_store(archive, store)
    try:
        version = bring_up(client, archive)
    except BaseException:
        if copied:
            (store / path.name).unlink()
        raise
    record = Deployed(path.name, archive.sha256)
    write_deployment(deployment.with_version(archive.version, record), store)
    return version


def promote(client: Client, version: str) -> None:
    """Make a version that is ready the default, and record it."""
    known = {v.version: v for v in list_versions(client)}
    if version not in known:
        raise InputError(
            f"version {version!r} isn't deployed; deployed are {sorted(known)}, "
            "`flyobj models deploy ARCHIVE` adds one"
        )
    if not known[version].is_ready:
        raise FlyobjError(
            f"version {version} isn't ready ({known[version].ready} of {known[version].workers} "
            "workers); the default stays as it is"
        )
    client.set_default(version)
    store = Path(client.server.model_store)
    write_deployment(read_deployment(store).with_default(version), store)


def reconcile(client: Client) -> list[Version]:
    """Bring a server that was just started to what `deployment.json` says."""
    store = Path(client.server.model_store)
    deployment = read_deployment(store)
    for name, deployed in deployment.versions.items():
        archive = read_archive(store / deployed.archive)
        if (archive.version, archive.sha256) != (name, deployed.sha256):
            raise InputError(
                f"{str(archive.path)!r} is not the archive that was deployed as version {name} "
                "(its version or SHA-256 differs); put that one back or deploy this one anew"
            )
        bring_up(client, archive)
    if deployment.default:
        client.set_default(deployment.default)
    return list_versions(client)


def bring_up(client: Client, archive: Archive) -> Version:
    """Register an archive of the store, wait until it is ready, and check its golden answers."""
    client.register(archive.path.name)
    try:
        with get_console().status(f"version {archive.version}: starting workers"):
            version = _wait_ready(client, archive.version)
        for golden in archive.golden:
            if found := difference(golden, client.predict(golden.photo, archive.version)):
                raise FlyobjError(f"version {archive.version} answers wrongly: {found}")
    except BaseException:  # Ctrl-C too leaves no version behind
        with contextlib.suppress(ServerError):
            client.unregister(archive.version)
        raise
    return version


def _wait_ready(client: Client, version: str) -> Version:
    """Poll until all workers are READY; a worker whose process was replaced has crashed."""
    until = time.monotonic() + _READY_TIMEOUT_S
    pids: dict[str, int] = {}
    while time.monotonic() < until:
        entry = client.versions().get(version)
        if entry is None:
            raise FlyobjError(f"the server dropped version {version}{_where(client)}")
        for worker in entry["workers"]:
            pid = int(worker.get("pid") or -1)
            if pid > 0 and pids.setdefault(worker["id"], pid) != pid:
                raise FlyobjError(f"a worker of version {version} crashed at start{_where(client)}")
        current = next(v for v in list_versions(client) if v.version == version)
        if current.is_ready:
            return current
        time.sleep(_POLL_S)
    raise FlyobjError(f"version {version} wasn't ready within {_READY_TIMEOUT_S} s{_where(client)}")


def _where(client: Client) -> str:
    return f"; see {client.server.home}/logs/workers.log"


def _into_store(archive: Archive, store: Path) -> bool:
    """Copy an archive that lies elsewhere into the model store; True if that was needed."""
    target = store / archive.path.name
    if target.exists():
        if sha256(target) != archive.sha256:
            raise InputError(f"{str(target)!r} exists already and is another archive; rename yours")
        return False
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(archive.path, partial)
    partial.rename(target)
    return True
