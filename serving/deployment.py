"""What should be served: `deployment.json` in the model store, which a restart is brought back to."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from model.bundle import read_json, write_json
from model.errors import InputError

FILE = "deployment.json"


@dataclass(frozen=True)
class Deployed:
    """One version: its archive's file name in the store, and its hash."""

    archive: str
    sha256: str


@dataclass(frozen=True)
class Deployment:
    """The versions that should be served, and which one answers requests that name none."""

    default: str | None = None
    versions: dict[str, Deployed] = field(default_factory=dict)

    def with_version(self, version: str, deployed: Deployed) -> "Deployment":
        """Add a version; the first becomes the default."""
        versions = {**self.versions, version: deployed}
        return Deployment(self.default or version, versions)

    def with_default(self, version: str) -> "Deployment":
        """Make a version the default."""
        return replace(self, default=version)


def read_deployment(store: Path) -> Deployment:
    """Read the store's deployment; an empty one if nothing was deployed yet."""
    path = store / FILE
    if not path.exists():
        return Deployment()
    document = read_json(path)
    try:
        versions = {v: Deployed(**d) for v, d in document["versions"].items()}
        deployment = Deployment(document["default"], versions)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{str(path)!r} must hold 'default' and 'versions' with 'archive' and 'sha256' each "
            f"({error}); mend it or remove it and deploy again"
        ) from error
    if deployment.default not in versions and (versions or deployment.default):
        raise InputError(
            f"{str(path)!r}: default {deployment.default!r} is none of the versions {list(versions)}"
        )
    return deployment


def write_deployment(deployment: Deployment, store: Path) -> None:
    """Write the store's deployment in one step."""
    versions: dict[str, Any] = {v: vars(d) for v, d in deployment.versions.items()}
    write_json({"default": deployment.default, "versions": versions}, store / FILE)
