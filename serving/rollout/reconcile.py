"""Bringing a server to what `deployment.json` says: after a restart, or after an edit of the file."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import FlyobjError, InputError
from serving.archive.build import Archive, read_archive
from serving.names import DEPLOYMENT
from serving.rollout.classes import compare_classes
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
from serving.server.versions import find_version, list_versions

Action = Literal["register", "restart", "scale", "set default", "remove"]


@dataclass(frozen=True)
class Change:
    """What differs between the server, as it is, and the file, as it should be; `action` mends it."""

    action: Action
    version: str
    server: str
    file: str


def diff(client: Client) -> list[Change]:
    """List what `apply` would do, in its order."""
    return list(_plan(client, read_deployment(client.store)))


def apply(client: Client, timeout_s: float = DRAIN_S, wait_s: float = LOCK_WAIT_S) -> list[Change]:
    """Bring the server to what the file says; returns what was done. Nothing to do is no error.

    Versions that are missing come first and those that are too many go last, so that there is always one
    that answers.

    Raises:
        InputError: an archive is missing or isn't the one that was deployed; nothing was changed.
    """
    if not diff(client):
        return []  # without a lock: the store may be read-only
    with lock_deployment(client.store, "apply", wait_s), record(client.store, "apply", None):
        return reconcile(client, timeout_s)


def reconcile(client: Client, timeout_s: float = DRAIN_S) -> list[Change]:
    """Do what `diff` lists, on a server whose store the caller has locked."""
    deployment = read_deployment(client.store)
    changes = list(_plan(client, deployment))
    archives = archives_of(client.store, deployment, _versions_needed(changes))
    for change in changes:
        _make_change(client, change, deployment.versions.get(change.version), archives, timeout_s)
    return changes


def restore(client: Client) -> dict[str, str]:
    """Serve what the file says on a server that just started.

    Returns:
        Versions that can't be served, each with the reason: an archive is missing or changed, or its
        workers don't start. The others are served.

    Raises:
        FlyobjError: the default is one of them. Nothing takes its place in silence.
    """
    deployment = read_deployment(client.store)
    left: dict[str, str] = {}
    for change in _plan(client, deployment):
        name = change.version
        try:
            archives = archives_of(client.store, deployment, _versions_needed([change]))
            _make_change(client, change, deployment.versions.get(name), archives, DRAIN_S)
        except FlyobjError as error:
            if name != deployment.default:
                left[name] = str(error)
                continue
            others = [v for v in deployment.versions if v != name]
            another = f', or make one of {others} the "default" there' if others else ""
            kind = InputError if isinstance(error, InputError) else FlyobjError
            raise kind(
                f"version {name}, the default in {str(client.store / DEPLOYMENT)!r}, can't be served: "
                f"{error}{another}"
            ) from error
    return left


def _versions_needed(changes: Iterable[Change]) -> set[str]:
    """Name the versions whose archives the changes need."""
    return {c.version for c in changes if c.action in ("register", "restart", "scale")}


def archives_of(store: Path, deployment: Deployment, versions: Collection[str]) -> dict[str, Archive]:
    """Read the archives of these versions; raises `InputError` if one isn't the one deployed."""
    archives = {}
    for version in versions:
        deployed = deployment.versions[version]
        archive = archives[version] = read_archive(store / deployed.archive)
        found = archive.model, archive.version, archive.sha256
        if found != (deployment.model, version, deployed.sha256):
            raise InputError(
                f"{str(archive.path)!r} is not the archive that was deployed as version {version} "
                "(its name, version or SHA-256 differs); put that one back, or remove it and deploy"
            )
    return archives


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
        lost = compare_classes(client, deployment, deployment.default, default).lost
        without = f", which doesn't know {', '.join(map(repr, lost))}" if lost else ""
        yield Change(
            "set default", deployment.default, default or "none", f"{deployment.default}{without}"
        )
    # Its default last: TorchServe keeps that as long as there are others.
    for name, found in sorted(there.items(), key=lambda item: item[1].default):
        if name not in deployment.versions:
            yield Change("remove", name, f"{found.workers} workers", "absent")


def _batching(size: int, delay_ms: int) -> str:
    return f"batches of {size} within {delay_ms} ms"


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
