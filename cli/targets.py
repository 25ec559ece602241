"""What `flyobj evaluate` can evaluate, recognised by its name.

Here bundles, answered in `training`, meet archives and servers, answered in `serving`: the rooms don't
know each other.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from serving.names import DEFAULT_MODEL

if TYPE_CHECKING:
    from serving.server.client import Client
    from training.evaluation.target import Target

TOKEN, PROXY = "FLYOBJ_TOKEN", "FLYOBJ_PROXY"  # for a remote server


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

        with _client_of(name, home) as client:
            given, proxy = os.environ.get(TOKEN), os.environ.get(PROXY)

            def token() -> str | None:
                return given or (client.tokens.get("inference") if client else None)

            model = client.model if client else DEFAULT_MODEL
            with open_url(name, token, model, proxy) as remote:
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
            f"{name!r} can't be evaluated; give a run folder of `flyobj train`, a bundle, an "
            "archive (.mar) or the address of a running server (http://127.0.0.1:8080)"
        )


def bundle_of(path: Path) -> Path | None:
    """Find the bundle that a folder is, or as a run holds."""
    return next((b for b in (path / "bundle", path) if (b / "model.json").is_file()), None)


def _client_of(url: str, home: Path) -> "AbstractContextManager[Client | None]":
    """Connect to the server of `home` if `url` is its address; no other gets its tokens."""
    from serving.server import lifecycle
    from serving.server.client import Client

    running, address = lifecycle.find(home), urlsplit(url)
    ours = running and address.hostname in ("127.0.0.1", "localhost") and address.port == running.port
    return Client(running) if running and ours else nullcontext()
