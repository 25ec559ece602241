"""A server for as long as a block lasts, for measurements and trials."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.server import lifecycle
from serving.server.client import Client
from serving.server.ports import free_port


@contextmanager
def temporary_server(folder: Path) -> Iterator[tuple[lifecycle.Server, Client]]:
    """Start a server with home and store in `folder`, on free ports; it is stopped at the end."""
    try:
        server = lifecycle.start(folder / "home", free_port(), folder / "store")
        with Client(server) as client:
            yield server, client
    finally:
        lifecycle.stop(folder / "home")
