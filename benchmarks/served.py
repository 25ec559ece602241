"""An archive on a server of its own, for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.rollout.operations import deploy
from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port


@contextmanager
def serve_archive(archive: Path, folder: Path) -> Iterator[Client]:
    """Serve an archive as version and default, with home and store in `folder`; stopped at the end."""
    try:
        with Client(lifecycle.start(folder / "home", free_port(), folder / "store")) as client:
            deploy(client, archive)
            yield client
    finally:
        lifecycle.stop(folder / "home")
