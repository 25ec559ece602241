"""The archives in a model store: what can be deployed, and what an archive was meant by a name."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from model.errors import FlyobjError, InputError
from model.files import write_bytes
from model.run_folder import find_bundle
from model.text import did_you_mean, shell_quote, shorten
from serving.archive.build import read_golden_photos
from serving.names import DEFAULT_MODEL, MODEL, VERSION
from serving.rollout.deployment import Deployment, read_deployment
from serving.server.client import Client
from serving.server.homes import command
from serving.server.ports import free_port


@dataclass(frozen=True, order=True)
class StoredArchive:
    """An archive by its file's name; the highest version is the last."""

    numbers: tuple[int, ...]
    version: str
    model: str
    path: Path


def list_archives(store: Path) -> list[StoredArchive]:
    """List what looks like an archive of ours, the highest version last."""
    found = []
    for path in store.glob("*.mar"):
        model, _, version = path.stem.rpartition("-")
        if MODEL.fullmatch(model) and VERSION.fullmatch(version) and path.is_file():
            numbers = tuple(int(number) for number in version.split("."))
            found.append(StoredArchive(numbers, version, model, path))
    return sorted(found)


def next_version(store: Path, model: str = DEFAULT_MODEL) -> str:
    """Return a version that the store doesn't hold yet: 1.0, 2.0, ..."""
    taken = [archive.numbers[0] for archive in list_archives(store) if archive.model == model]
    return f"{max(taken, default=0) + 1}.0"


def find_archive(name: str, store: Path) -> Path:
    """Find the archive that is meant by a path, or by the name of a file in the store.

    Raises:
        InputError: it is a run, or nothing by that name is there.
    """
    for path in (Path(name), store / name):
        if path.is_file():
            return path
    path = Path(name)
    if path.is_dir():
        bundle = find_bundle(path)  # raises for a run that isn't finished
        run = bundle.parent if bundle.name == "bundle" else bundle
        package = command("archive", shorten(run))
        raise InputError(
            f"{name!r} is a run, not an archive; package it first: "
            f"`{package} --version {next_version(store)}`"
        )
    there = [archive.path.name for archive in list_archives(store)]
    close = did_you_mean(path.name, there)
    holds = f"{shell_quote(shorten(store))} holds {', '.join(there) or 'none'}"
    raise InputError(f"archive {name!r}: no such file; {holds}{close}")


def write_example(client: Client, archive: str) -> Path | None:
    """Write a golden photo of an archive into the server's home, to try; None where that can't be."""
    if client.server.home is None:
        return None
    golden = read_golden_photos(client.store / archive)[0]
    path = Path(client.server.home, "example").with_suffix(Path(golden.name).suffix)
    with suppress(FlyobjError):
        write_bytes(golden.photo, path)
        return path
    return None


def how_to_deploy(client: Client) -> str:
    """Write the command that deploys the highest version which isn't; without one, that lists them."""
    deployed = {version.archive for version in read_deployment(client.store).versions.values()}
    new = [archive.path for archive in list_archives(client.store) if archive.path.name not in deployed]
    return client.command("models deploy", *map(shorten, new[-1:]))


def how_to_serve_beside(model: str) -> str:
    """Write the command that starts a second server, of another model."""
    typed = command("serve --detach", home=Path("runs", model))
    return f"{typed} --model-store {shell_quote(f'model-store-{model}')} --port {free_port()}"


def other_defaults(client: Client, deployment: Deployment) -> str:
    """Say what makes another version the default."""
    others = [version for version in deployment.versions if version != deployment.default]
    named = " or ".join(f"`{client.command('models promote', version)}`" for version in others)
    return f"{named} makes another one that" if named else "no other version is deployed"
