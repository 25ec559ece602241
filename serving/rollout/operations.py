"""Changing which versions are served: deploy, promote, roll back, scale, retire.

`deployment.json` says what should be served, and the server follows it. Each operation can be run again
after it was interrupted at any point, by this rule: what can no longer be refused is written first and
then done (promote, roll back), so that a second run, `apply` or a restart finishes it; what may still be
refused is written when it is done (deploy, retire), so that the file never names a version that
hasn't shown that it works, and a second run begins again with what it finds on the server. Scale is
written first and taken back if it is refused.

One operation at a time changes a store (`lock_deployment`), and each leaves a line in the history.
"""

import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from model.errors import FlyobjError, InputError
from model.files import atomic_file, remove_partials
from serving.archive.build import Archive, read_archive, sha256
from serving.rollout.classes import compare_classes, require_all_named
from serving.rollout.deployment import (
    LOCK_WAIT_S,
    DeployedVersion,
    Deployment,
    lock_deployment,
    read_deployment,
    write_deployment,
)
from serving.rollout.history import record
from serving.rollout.quiesce import WorkersBusy, hold_workers
from serving.rollout.readiness import bring_up, set_workers, wait_ready
from serving.rollout.store import how_to_serve_beside, other_defaults
from serving.server.client import Client
from serving.server.versions import Version, find_version, list_versions

DRAIN_S = 30
_SETTLE_S = 0.05  # until a request that was let in before the last worker went is in the queue
_RETRY_S = 0.3


def deploy(
    client: Client, path: Path, workers: int | None = None, wait_s: float = LOCK_WAIT_S
) -> Version:
    """Register an archive next to what is served, check its answers, and record it.

    The first version becomes the default, later ones wait for `promote`. A version that doesn't come
    up or answers wrongly is removed again. The same archive again is no error.

    Args:
        client: of the server.
        path: the archive; it is copied into the model store if it isn't there.
        workers: processes; None for the rule of `default_workers`.
        wait_s: for another operation to end.
    """
    store, archive = client.store, read_archive(path)
    record = DeployedVersion(path.name, archive.sha256, workers)
    with _operation(client, "deploy", archive.version, wait_s) as deployment:
        if deployment.versions and archive.model != deployment.model:
            raise InputError(
                f"the store {str(store)!r} serves model {deployment.model!r}, {str(path)!r} holds "
                f"{archive.model!r}; give it a store and a home of its own: "
                f"`{how_to_serve_beside(archive.model)}`"
            )
        client.model = archive.model
        known = deployment.versions.get(archive.version)
        if known and known.sha256 != archive.sha256:
            raise InputError(
                f"version {archive.version} is deployed already, from another archive; package "
                "the model under another --version"
            )
        if known:
            record = replace(known, workers=workers or known.workers)
        else:
            _remove_leftovers(client, deployment, archive.version)
        after = replace(deployment.with_version(archive.version, record), model=archive.model)
        target = store / record.archive
        there, version = target.exists(), None
        try:
            _copy_into_store(archive, target)
            version = _make_ready(client, replace(archive, path=target), record)
            write_deployment(after, store)
        except BaseException:  # Ctrl-C too leaves nothing behind
            if read_deployment(store) == deployment:  # not written yet
                if version and not known:
                    with suppress(FlyobjError):
                        client.unregister(archive.version)
                if not there:
                    target.unlink(missing_ok=True)
            raise
    return version


def _remove_leftovers(client: Client, deployment: Deployment, version: str) -> None:
    """Remove what deploys that were interrupted have left: this version, or all before the first one.

    Of several the server's default comes last: TorchServe keeps it as long as there are others.
    """
    for left in sorted(list_versions(client), key=lambda v: v.default):
        if left.version == version or not deployment.versions:
            client.unregister(left.version)


def remove_unused(archive: Path) -> None:
    """Remove an archive from its store unless it is deployed."""
    if archive.name not in {d.archive for d in read_deployment(archive.parent).versions.values()}:
        archive.unlink(missing_ok=True)


def promote(
    client: Client, version: str, wait_s: float = LOCK_WAIT_S, drop_classes: Collection[str] = ()
) -> None:
    """Make a version that is ready the default, and remember the one before.

    Raises:
        InputError: it lacks a class of the default that `drop_classes` doesn't name.
    """
    with _operation(client, "promote", version, wait_s) as deployment:
        _require_ready(client, deployment, version)
        if deployment.default != version:  # it is, where an earlier run was interrupted
            change = compare_classes(client, deployment, version, deployment.default)
            require_all_named(change, drop_classes)
        _make_default(client, deployment.with_default(version))


def rollback(client: Client, wait_s: float = LOCK_WAIT_S) -> str:
    """Make the previous default the default again; returns its name."""
    with _operation(client, "rollback", None, wait_s) as deployment:
        if deployment.previous:
            _require_ready(client, deployment, deployment.previous)
            deployment = deployment.with_rollback()
        elif client.default_version() == deployment.default:
            raise InputError(
                f"no default before {deployment.default!r} is known; "
                f"{other_defaults(client, deployment)}"
            )
        _make_default(client, deployment)  # without a previous one: ends what was interrupted
        return str(deployment.default)


def scale(
    client: Client, version: str, workers: int, timeout_s: float = DRAIN_S, wait_s: float = LOCK_WAIT_S
) -> Version:
    """Give a version this many workers; some are removed only while none has a request.

    Raises:
        WorkersBusy: they didn't come to rest within `timeout_s`; nothing was changed.
    """
    with _operation(client, "scale", version, wait_s) as deployment:
        _require_deployed(client, deployment, version)
        before = find_version(client, version)
        if before is None:
            see = client.command("models diff")
            raise InputError(f"version {version} isn't on the server; see `{see}`")
        after = deployment.with_version(version, replace(deployment.versions[version], workers=workers))
        write_deployment(after, client.store)
        try:
            return set_workers(client, version, workers, timeout_s)
        except FlyobjError as error:  # none of these can be finished by another run
            write_deployment(deployment, client.store)
            if not isinstance(error, WorkersBusy) and before.workers:
                client.scale(version, before.workers)
            raise


def retire(
    client: Client, version: str, timeout_s: float = DRAIN_S, wait_s: float = LOCK_WAIT_S
) -> None:
    """Remove a version from the server once nobody waits for it; its archive stays in the store.

    Requests that name the version are answered by it, or refused with 503 for a moment and 404 from then
    on.

    Raises:
        WorkersBusy: it is asked all the time; nothing was changed.
    """
    with _operation(client, "retire", version, wait_s) as deployment:
        if version == deployment.default:
            raise InputError(f"version {version} is the default; {other_defaults(client, deployment)}")
        if find_version(client, version) is None:
            _require_deployed(client, deployment, version)
        if deployment.default and client.default_version() == version:
            client.set_default(deployment.default)  # a promote was interrupted
        remove(client, version, timeout_s)
        write_deployment(deployment.without(version), client.store)


def remove(client: Client, version: str, timeout_s: float) -> None:
    """Unregister a version that isn't the default without leaving a request behind.

    TorchServe lets requests in as long as there is a worker, and forgets the queue of a version that it
    unregisters. So: hold the workers while the queue is empty, scale to none (requests are refused from
    then on), and unregister if still nothing is in the queue. A request that came in between is answered
    by a worker that is started for it.
    """
    until = time.monotonic() + timeout_s
    workers = 1
    while (found := find_version(client, version)) is not None:
        nobody = found.ready == 0 and found.workers > 0  # who could answer what waits
        if nobody or found.workers == found.waiting == 0:
            client.unregister(version)
            return
        if found.workers == 0:
            client.scale(version, workers)
            wait_ready(client, version)
            continue
        workers = found.workers
        left = until - time.monotonic()
        if left < 0:
            raise WorkersBusy(
                f"version {version} is never idle, as clients name it; move them first, or give a "
                f"--timeout longer than {timeout_s:g} s; it stays"
            )
        if found.waiting or not _scale_to_none(client, version, left):
            time.sleep(_RETRY_S)


def _scale_to_none(client: Client, version: str, timeout_s: float) -> bool:
    """Take all workers away if nothing waits; False if something does."""
    with hold_workers(client, version, timeout_s) as pause:
        found = find_version(client, version)
        if found and found.waiting:
            return False
        pause.scale_down(0)
        time.sleep(_SETTLE_S)
        found = find_version(client, version)
        if found and found.waiting <= pause.unanswered():  # nothing but our own descriptions
            client.unregister(version)
    return True


@contextmanager
def _operation(
    client: Client, operation: str, version: str | None, wait_s: float
) -> Iterator[Deployment]:
    """Lock the deployment, read it, and note how the operation ends."""
    what = f"{operation} {version}" if version else operation
    with lock_deployment(client.store, what, wait_s), record(client.store, operation, version):
        yield read_deployment(client.store)


def _make_ready(client: Client, archive: Archive, deployed: DeployedVersion) -> Version:
    """Make a version ready, which may be on the server already."""
    found = find_version(client, archive.version)
    if found is None:
        return bring_up(client, archive, deployed)
    if deployed.workers and deployed.workers != found.workers:
        return set_workers(client, archive.version, deployed.workers)
    return wait_ready(client, archive.version)


def _require_ready(client: Client, deployment: Deployment, version: str) -> None:
    _require_deployed(client, deployment, version)
    found = find_version(client, version)
    if found is None or not found.is_ready:
        state = f"{found.ready} of {found.workers} workers" if found else "not on the server"
        raise FlyobjError(f"version {version} isn't ready ({state}); the default stays as it is")


def _make_default(client: Client, deployment: Deployment) -> None:
    write_deployment(deployment, client.store)
    if deployment.default and client.default_version() != deployment.default:
        client.set_default(deployment.default)


def _require_deployed(client: Client, deployment: Deployment, version: str) -> None:
    if version not in deployment.versions:
        raise InputError(
            f"version {version!r} isn't deployed; deployed are {sorted(deployment.versions)}, "
            f"`{client.command('models deploy')}` lists what can be"
        )


def _copy_into_store(archive: Archive, target: Path) -> None:
    """Copy an archive to its place in the model store if it isn't there already."""
    if target.exists():
        if not target.is_file() or sha256(target) != archive.sha256:
            raise InputError(
                f"{str(target)!r} exists already and is another archive; rename yours, or remove that "
                "one if it is damaged"
            )
        return
    remove_partials(target)
    with atomic_file(target) as partial:
        shutil.copyfile(archive.path, partial)
        if sha256(partial) != archive.sha256:
            raise FlyobjError(f"{str(archive.path)!r} was changed while it was copied; deploy it again")
