"""A server that is reached over HTTP alone: another machine's or a container's, through a tunnel."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit


@dataclass(frozen=True)
class RemoteServer:
    """Stands where a `serving.server.lifecycle.Server` can, without a home that could be looked into.

    Attributes:
        inference: http://HOST:PORT that photos go to.
        management: http://HOST:PORT that versions are changed at; empty if they aren't.
        model_store: the folder here with the deployment, and with archives as the server has them.
        key_file: a copy of its tokens; None where no call needs one.
        drained: nobody's request reaches it while it is changed.
    """

    inference: str
    management: str = ""
    model_store: str = ""
    key_file: Path | None = None
    drained: bool = False
    home: ClassVar[None] = None

    @property
    def metrics(self) -> str:
        """Address that Prometheus asks, if TorchServe's ports are in their usual order."""
        return port_after(self.management)

    def require_running(self) -> None:
        """Do nothing: nobody but the user knows whose address it is."""


def port_after(url: str) -> str:
    """Return an address with the next port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{(parts.port or 0) + 1}"
