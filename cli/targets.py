"""What `flyobj evaluate` and `compare` can ask, recognised by its name.

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
    import httpx

    from serving.server.client import Client
    from training.evaluation.target import Target

TOKEN, PROXY = "FLYOBJ_TOKEN", "FLYOBJ_PROXY"  # for a remote server


@contextmanager
def open_target(name: str, home: Path | None) -> Iterator["Target"]:
    """Open a run folder, a bundle, a `.mar`, a version of this home's server or any server's address.

    Raises:
        InputError: `name` is none of these.
    """
    from cli.options import connect
    from model.errors import InputError
    from model.run_folder import find_bundle
    from serving.names import VERSION

    path = Path(name)
    if "://" in name:
        from serving.server.inference import RemoteModel, parse_address

        address, model, version = parse_address(name)
        with _connect_to(address, home) as client:
            client.model = model or client.model
            yield RemoteModel(client, version)
    elif path.is_file():
        from serving.archive.isolated import open_archive

        with open_archive(path) as packaged:
            yield packaged
    elif path.is_dir():
        from training.evaluation.target import BundleTarget

        yield BundleTarget(find_bundle(path))
    elif VERSION.fullmatch(name) and not path.exists():
        from serving.server.inference import RemoteModel

        with connect(home) as client:
            yield RemoteModel(client, name)
    else:
        raise InputError(
            f"{name!r} doesn't exist; give a run folder of `flyobj train`, a bundle, an archive (.mar), "
            "a version on the running server (2.0) or a server's address (http://127.0.0.1:8080)"
        )


def _connect_to(address: str, home: Path | None) -> "Client":
    """Connect to a server; only that of a home gets the tokens of that home, and none a proxy.

    `FLYOBJ_TOKEN` and `FLYOBJ_PROXY` are for others: who sets them asks for a token to be sent there,
    and for a proxy on the way, if it is on another machine.
    """
    from serving.server import homes, lifecycle
    from serving.server.client import Client
    from serving.server.remote_server import RemoteServer

    parts, own = urlsplit(address), lifecycle.find(home or homes.default_home())
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    for server in [own, *([] if home else lifecycle.list_running())] if local else []:
        if server and server.port == parts.port:
            return Client(server)
    transport = None if local else _proxy_transport()
    return Client(RemoteServer(address), transport, token=os.environ.get(TOKEN, ""))


def _proxy_transport() -> "httpx.BaseTransport | None":
    import httpx

    from model.errors import InputError

    if not (proxy := os.environ.get(PROXY)):
        return None
    try:
        return httpx.HTTPTransport(proxy=proxy, trust_env=False)
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        raise InputError(f"{PROXY}={proxy!r}: {error}; give http://HOST:PORT") from error
