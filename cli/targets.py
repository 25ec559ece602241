"""What `flyobj evaluate` and `compare` can ask, recognised by its name.

Here bundles, answered in `training`, meet archives and servers, answered in `serving`: the rooms don't
know each other.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from serving.names import CA_FILE, TOKEN

if TYPE_CHECKING:
    import httpx

    from serving.server.client import Client
    from training.evaluation.target import Target

PROXY = "FLYOBJ_PROXY"  # for a remote server
_PROXY_PORTS = {"https": 443, "socks5": 1080}  # where the address names none
_REACH_TIMEOUT_S = 10


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
        from serving.server.inference import RemoteModel

        with connect_to(name, home) as (client, version):
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


@contextmanager
def connect_to(url: str, home: Path | None) -> Iterator[tuple["Client", str | None]]:
    """Connect to the server of a URL; yields the client, and the version that the URL names, or None.

    Only the server of `home` gets the tokens of that home, and it gets no proxy.
    `FLYOBJ_TOKEN`, `FLYOBJ_CA_FILE` and `FLYOBJ_PROXY` are for others: who sets them asks for a token to
    be sent there, for that authority's certificates to be trusted, and for a proxy on the way, if it is
    on another machine.
    """
    from serving.server import homes, lifecycle
    from serving.server.client import Client
    from serving.server.inference import parse_address
    from serving.server.remote_server import RemoteServer

    address, model, version = parse_address(url)
    parts, own = urlsplit(address), lifecycle.find(home or homes.default_home())
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    ours = [own, *([] if home else lifecycle.list_running())] if local and parts.scheme == "http" else []
    server = next((s for s in ours if s and s.port == parts.port), None)
    if server:
        client = Client(server)
    else:
        ca_file = Path(os.environ[CA_FILE]) if os.environ.get(CA_FILE) else None
        transport, token = None if local else _proxy_transport(ca_file), os.environ.get(TOKEN, "")
        client = Client(RemoteServer(address), transport, token=token, ca_file=ca_file)
    client.model = model or client.model
    with client:
        yield client, version


def _proxy_transport(ca_file: Path | None) -> "httpx.BaseTransport | None":
    import httpx

    from model.errors import InputError
    from serving.server.connection import trust

    if not (proxy := os.environ.get(PROXY)):
        return None
    try:
        more: dict[str, Any] = {"verify": trust(ca_file)} if ca_file else {}
        transport = httpx.HTTPTransport(proxy=proxy, trust_env=False, **more)
        url = httpx.URL(proxy)
        place = url.host or "no host", url.port or _PROXY_PORTS.get(url.scheme, 80)
        socket.create_connection(place, _REACH_TIMEOUT_S).close()  # or a server would be blamed
    except (httpx.InvalidURL, ValueError, ImportError, OSError, OverflowError) as error:
        raise InputError(f"{PROXY}={proxy!r}: {error}; give http://HOST:PORT of a proxy") from error
    return transport
