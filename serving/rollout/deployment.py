"""What should be served: `deployment.json` in the model store.

    {
      "model": "flying_objects",
      "default": "2.0",
      "previous": "1.0",
      "versions": {
        "1.0": {"archive": "flying_objects-1.0.mar", "sha256": "...", "workers": 2},
        "2.0": {"archive": "flying_objects-2.0.mar", "sha256": "..."}
      }
    }

People may edit it and keep it in git: `flyobj models diff` shows what that would change on the server,
`apply` and a restart do it. What isn't given (`batch_size`, `max_batch_delay_ms`, `previous`) is as the
archive has it, or unknown; `workers` are then one a core, within the memory (`default_workers`), and
`model` is the default name. It is replaced in one step, and only by whoever holds the lock beside it,
which dies with its process.
"""

import fcntl
import getpass
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

from model.errors import FlyobjError, InputError
from model.files import exact_keys, read_json, write_json
from serving.archive.layout import check_model, check_version
from serving.names import DEFAULT_MODEL, DEPLOYMENT

LOCK = ".deployment.lock"
LOCK_WAIT_S = 60
_POLL_S = 0.1
# The highest number that is still a setting and no slip of the hand.
_LIMITS = {"workers": 256, "batch_size": 1024, "max_batch_delay_ms": 60_000}


@dataclass(frozen=True)
class DeployedVersion:
    """One version. None stands for what the archive's `model-config.yaml` says, but for workers.

    Attributes:
        archive: file name in the model store.
        sha256: of the archive.
        workers: processes; None for the rule of `default_workers`.
        batch_size: requests that go through the network together, at most.
        max_batch_delay_ms: that the first of them waits for more.
    """

    archive: str
    sha256: str
    workers: int | None = None
    batch_size: int | None = None
    max_batch_delay_ms: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be served."""
        if Path(self.archive).name != self.archive or self.archive.startswith("."):
            raise InputError(f"archive {self.archive!r} must be the name of a file in the model store")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise InputError(f"sha256 {self.sha256!r} must be 64 hexadecimal digits")
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not (type(value) is int and 1 <= value <= limit):
                raise InputError(f"{name} {value!r} must be a whole number from 1 to {limit}")


@dataclass(frozen=True)
class Deployment:
    """The versions of one model that should be served; `rollback` goes back to `previous`."""

    default: str | None = None
    versions: Mapping[str, DeployedVersion] = field(default_factory=dict)
    previous: str | None = None
    model: str = DEFAULT_MODEL

    def __post_init__(self) -> None:
        """Refuse a default that isn't served; forget a previous one that is gone."""
        check_model(self.model)
        for version in self.versions:
            check_version(version)
        if self.default not in self.versions and (self.versions or self.default):
            raise InputError(f"default {self.default!r} isn't one of the versions {list(self.versions)}")
        if self.previous not in self.versions:
            object.__setattr__(self, "previous", None)

    def with_version(self, version: str, deployed: DeployedVersion) -> "Deployment":
        """Add or change a version; the first becomes the default."""
        versions = {**self.versions, version: deployed}
        return replace(self, default=self.default or version, versions=versions)

    def without(self, version: str) -> "Deployment":
        """Leave out a version that isn't the default."""
        versions = {v: d for v, d in self.versions.items() if v != version}
        return replace(self, versions=versions)

    def with_default(self, version: str) -> "Deployment":
        """Make another version the default and remember the one before."""
        if version == self.default:
            return self
        return replace(self, default=version, previous=self.default)

    def with_rollback(self) -> "Deployment":
        """Make the previous default the default again; nothing is remembered after that."""
        return replace(self, default=self.previous, previous=None)


def read_deployment(store: Path) -> Deployment:
    """Read the store's deployment; an empty one if nothing was deployed yet."""
    path = store / DEPLOYMENT
    if not path.exists():
        return Deployment()
    where, remedy = repr(str(path)), "mend it, or remove it and deploy again"
    document = read_json(path, remedy=remedy)
    exact_keys(document, _keys(Deployment), where, ["previous", "model"], remedy)
    entries, keys = document["versions"], _keys(DeployedVersion)
    names = [*entries] if isinstance(entries, dict) else []
    exact_keys(entries, names, f"{where}: 'versions'", remedy=remedy)
    for name, entry in entries.items():
        exact_keys(entry, keys, f"{where}: version {name!r}", keys[2:], remedy)
    try:
        versions = {name: DeployedVersion(**entry) for name, entry in entries.items()}
        return Deployment(**{**document, "versions": versions})
    except (InputError, TypeError) as error:
        raise InputError(f"{where}: {error}; {remedy}") from error


def write_deployment(deployment: Deployment, store: Path) -> None:
    """Replace the store's deployment; a full disk or a crash leaves the one before."""
    versions = {
        name: {key: value for key, value in vars(deployed).items() if value is not None}
        for name, deployed in deployment.versions.items()
    }
    previous = {"previous": deployment.previous} if deployment.previous else {}
    document = {"model": deployment.model, "default": deployment.default, **previous}
    write_json({**document, "versions": versions}, store / DEPLOYMENT)


@contextmanager
def lock_deployment(store: Path, operation: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Be the only one who changes this deployment; others are told of `operation` meanwhile.

    Raises:
        FlyobjError: another one still holds it after `wait_s`; the message says who.
    """
    with _open_lock(store / LOCK) as file:
        until = time.monotonic() + wait_s
        while not _try_lock(file):
            if time.monotonic() > until:
                file.seek(0)
                holder = file.read().strip() or "someone who has just started"
                raise FlyobjError(
                    f"the deployment in {str(store)!r} is being changed: {holder}; waited {wait_s:g} "
                    f"s, "
                    "try again when that is done"
                )
            time.sleep(_POLL_S)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        with suppress(OSError):  # the lock holds on a full disk too, it just can't say who has it
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), f"{operation} by {who()} since {now}\n".encode(), 0)
        yield


def who() -> str:
    """Name who is at work."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} (pid {os.getpid()})"


def _open_lock(path: Path) -> TextIO:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise FlyobjError(
            f"the model store {str(path.parent)!r} can't be written ({error.strerror}); a read-only "
            "store is served as its deployment.json says, and changed where that comes from"
        ) from error


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _keys(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]
