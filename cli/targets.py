"""What `flyobj evaluate` can evaluate, told by how it is named.

Here bundles, answered in `training`, meet archives and servers, answered in `serving`: the rooms don't
know each other.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from training.evaluation.target import Target

TOKEN = "FLYOBJ_TOKEN"


@contextmanager
def open_target(name: str, home: Path) -> Iterator["Target"]:
    """Open a run folder, a bundle, a `.mar` or the address of a running server.

    Raises:
        InputError: `name` is none of these.
    """
    from model.errors import InputError

    path = Path(name)
    if "://" in name:
        from serving.server.inference import open_url

        with open_url(name, lambda: _token(name, home)) as remote:
            yield remote
    elif path.is_file():
        from serving.archive.isolated import open_archive

        with open_archive(path) as packaged:
            yield packaged
    elif bundle := bundle_of(path):
        from training.evaluation.target import BundleTarget

        yield BundleTarget(bundle)
    else:
        raise InputError(
            f"{name!r} is nothing to evaluate; give a run folder of `flyobj train`, a bundle, an "
            "archive (.mar) or the address of a running server (http://127.0.0.1:8080)"
        )


def bundle_of(path: Path) -> Path | None:
    """Find the bundle that a folder is, or as a run holds."""
    return next((b for b in (path / "bundle", path) if (b / "model.json").is_file()), None)


def _token(url: str, home: Path) -> str | None:
    """Take the token from the environment, or from the server of `home` if `url` is its address."""
    from serving.server import lifecycle
    from serving.server.client import Client

    if token := os.environ.get(TOKEN):
        return token
    running = lifecycle.find(home)
    address = urlsplit(url)
    if running is None or (address.hostname, address.port) not in _addresses(running.port):
        return None  # another server's: our token is not for it
    with Client(running) as client:
        return client.token("inference")


def _addresses(port: int) -> list[tuple[str, int]]:
    return [("127.0.0.1", port), ("localhost", port)]
