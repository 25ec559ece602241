"""Which classes come and go with a version: what nobody asked to lose isn't lost in silence."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from model.errors import InputError
from model.text import shell_quote
from serving.archive.build import read_golden_photos
from serving.rollout.deployment import Deployment
from serving.server.client import Client


@dataclass(frozen=True)
class ClassChange:
    """What `version` knows beside another one: classes that only one of them does."""

    version: str
    against: str
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it; "" where both know the same classes."""
        parts = [
            f"{does} {', '.join(map(repr, names))}"
            for does, names in (("doesn't know", self.lost), ("adds", self.gained))
            if names
        ]
        return f"version {self.version} {' and '.join(parts)}, unlike {self.against}" if parts else ""


def compare_classes(
    client: Client, deployment: Deployment, version: str, against: str | None
) -> ClassChange:
    """Compare two versions by their archives, or by what they say where an archive is gone.

    `against` is None, or the version itself, where there is nothing to compare with.

    Raises:
        FlyobjError: an archive is gone, and its version doesn't answer.
    """
    if against in (None, version):
        return ClassChange(version, version)
    new, old = (_classes_of(client, deployment, name) for name in (version, str(against)))
    gained = tuple(name for name in new if name not in old)
    return ClassChange(version, str(against), gained, tuple(name for name in old if name not in new))


def require_all_named(change: ClassChange, dropped: Collection[str]) -> None:
    """Raise an `InputError` unless `dropped` names the classes that are lost, and no others."""
    if wrong := [name for name in dropped if name not in change.lost]:
        what = f"it loses {list(change.lost)}" if change.lost else "it loses none"
        raise InputError(
            f"--drop-class {wrong[0]!r} is no class that version {change.version} loses beside "
            f"{change.against}; {what}"
        )
    if missing := [name for name in change.lost if name not in dropped]:
        options = " ".join(f"--drop-class {shell_quote(name)}" for name in change.lost)
        raise InputError(
            f"version {change.version} doesn't know {', '.join(map(repr, missing))} of the default, "
            f"{change.against}: photos of them would be called something else; the default "
            f"stays. If that is meant, add {options}"
        )


def _classes_of(client: Client, deployment: Deployment, version: str) -> Sequence[str]:
    with suppress(InputError, KeyError):
        archive = client.store / deployment.versions[version].archive
        return sorted(read_golden_photos(archive)[0].probabilities)
    return [str(name) for name in client.describe(version)["classes"]]
