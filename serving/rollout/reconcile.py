"""Bringing a server to what `deployment.json` says: after a restart, or after an edit of the file."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import FlyobjError, InputError
from serving.archive.build import Archive, read_archive
from serving.rollout.default_workers import workers_for
from serving.rollout.deployment import (
    LOCK_WAIT_S,
    DeployedVersion,
    Deployment,
    lock_deployment,
    read_deployment,
)
from serving.rollout.history import record
from serving.rollout.operations import DRAIN_S, remove
from serving.rollout.readiness import bring_up, set_workers
from serving.server.client import Client
from serving.server.versions import Version, find_version, list_versions

Action = Literal["register", "restart", "scale", "set default", "remove"]


@dataclass(frozen=True)
class Change:
    """One thing that differs between the file and the server.

    Attributes:
        action: what would be done.
        version: to which version.
        server: as it is.
        file: as it should be.
    """

    action: Action
    version: str
    server: str
    file: str


def diff(client: Client) -> list[Change]:
    """List what `apply` would do, in its order."""
    return list(_plan(client, read_deployment(Path(client.server.model_store))))


def apply(client: Client, timeout_s: float = DRAIN_S, wait_s: float = LOCK_WAIT_S) -> list[Change]:
    """Bring the server to what the file says; returns what was done. Nothing to do is no error.

    Versions that are missing come first and those that are too many go last, so that there is always one
    that answers.

    Raises:
        InputError: an archive is missing or isn't the one that was deployed; nothing was changed.
    """
    store = Path(client.server.model_store)
    if not diff(client):
        return []  # without a lock: the store may be read-only
    with lock_deployment(store, "apply", wait_s), record(store, "apply", None):
        return follow(client, timeout_s)


def reconcile(client: Client) -> list[Version]:
    """Bring a server that was just started to what the file says; the store may be read-only."""
    follow(client, DRAIN_S)
    return list_versions(client)


def follow(client: Client, timeout_s: float) -> list[Change]:
    """Do what differs between the file and the server; the caller holds the lock."""
    store = Path(client.server.model_store)
    deployment = read_deployment(store)
    changes = list(_plan(client, deployment))
    archives = archives_of(store, deployment, {c.version for c in changes if _needs_archive(c)})
    for change in changes:
        _make_change(client, change, deployment.versions.get(change.version), archives, timeout_s)
    return changes


def archives_of(
    store: Path, deployment: Deployment, versions: Collection[str] | None = None
) -> dict[str, Archive]:
    """Read the archives of these versions (default: all), which must be the ones that were deployed."""
    chosen = deployment.versions if versions is None else versions
    return {name: _read_deployed_archive(store, deployment, name) for name in chosen}


def _plan(client: Client, deployment: Deployment) -> Iterator[Change]:
    there = {v.version: v for v in list_versions(client)}
    # The default first: TorchServe gives requests that name no version to the first one it gets.
    for name, deployed in sorted(deployment.versions.items(), key=lambda v: v[0] != deployment.default):
        workers = deployed.workers or workers_for(client.server)
        wanted = f"{workers} workers" if workers else "the archive's workers"
        found = there.get(name)
        if found is None:
            yield Change("register", name, "absent", wanted)
            continue
        size, delay = found.batch_size, found.max_batch_delay_ms
        if found.archive != deployed.archive:
            yield Change("restart", name, found.archive, deployed.archive)
        elif (now := _batching(size, delay)) != (
            asked := _batching(deployed.batch_size or size, deployed.max_batch_delay_ms or delay)
        ):
            yield Change("restart", name, now, asked)
        elif found.workers == 0 or (deployed.workers and deployed.workers != found.workers):
            yield Change("scale", name, f"{found.workers} workers", wanted)
    default = next((v.version for v in there.values() if v.default), None)
    if deployment.default and default != deployment.default:
        yield Change("set default", deployment.default, default or "none", deployment.default)
    for name, found in there.items():
        if name not in deployment.versions:
            yield Change("remove", name, f"{found.workers} workers", "absent")


def _batching(size: int, delay_ms: int) -> str:
    return f"batches of {size} within {delay_ms} ms"


def _needs_archive(change: Change) -> bool:
    return change.action in ("register", "restart", "scale")


def _make_change(
    client: Client,
    change: Change,
    deployed: DeployedVersion | None,
    archives: Mapping[str, Archive],
    timeout_s: float,
) -> None:
    name = change.version
    if change.action in ("restart", "remove"):
        remove(client, name, timeout_s)
    if deployed and change.action in ("register", "restart"):
        bring_up(client, archives[name], deployed)
    if deployed and change.action == "scale":
        workers = deployed.workers or workers_for(client.server) or archives[name].workers
        set_workers(client, name, workers, timeout_s)
    if change.action == "set default":
        found = find_version(client, name)
        if found is None or not found.ready:
            raise FlyobjError(f"version {name} isn't ready; the default stays {change.server}")
        client.set_default(name)


def _read_deployed_archive(store: Path, deployment: Deployment, version: str) -> Archive:
    deployed = deployment.versions[version]
    archive = read_archive(store / deployed.archive)
    found = archive.model, archive.version, archive.sha256
    if found != (deployment.model, version, deployed.sha256):
        raise InputError(
            f"{str(archive.path)!r} is not the archive that was deployed as version {version} "
            "(its name, version or SHA-256 differs); put that one back or deploy this one again"
        )
    return archive
