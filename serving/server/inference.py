"""The model behind a running server's inference address, asked as bundles and archives are."""

import io
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from PIL import Image

from model.bundle import ModelSpec
from model.errors import InputError
from serving.server.client import Client
from serving.server.connection import NoAnswer
from serving.server.homes import command

CLIENTS = 8  # requests at a time, so that batches form
_PREDICTIONS = re.compile(r"(?:/predictions/([^/]+)(?:/([^/]+))?)?")


class RemoteModel:
    """One version of a server's model."""

    spec: ModelSpec | None = None  # an inference address doesn't say

    def __init__(self, client: Client, version: str | None) -> None:
        """Ask a version, None for the default, what it makes of a grey photo.

        Raises:
            InputError: nothing answers there, or not as a classifier of ours.
        """
        self._client, self._version = client, version
        url = f"{client.server.inference}{client.path(version)}"
        self.description = f"server {url}"
        grey = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(grey, "PNG")
        try:
            (answer,) = self.answer([grey.getvalue()])
        except NoAnswer as error:
            raise InputError(
                f"nothing answers at {url}: {error}; start a server with "
                f"`{command('serve --detach')}`, or give the address of one that runs"
            ) from error
        if not isinstance(answer.get("probabilities"), dict):
            raise InputError(
                f"{url} didn't classify a photo: {answer.get('message', answer)}; check the name and "
                "the version, and give the --home of the server, or its token as FLYOBJ_TOKEN"
            )
        self.classes = tuple(answer["probabilities"])
        self.version = str(answer["model_version"])  # that answered

    def answer(self, photos: Sequence[bytes], explain: bool = False) -> list[dict[str, Any]]:
        """Answer photos, several at a time; one that is refused has a code and a message."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda photo: self._ask(photo, explain), photos))

    def _ask(self, photo: bytes, explain: bool) -> dict[str, Any]:
        response = self._client.post(photo, self._version, explain)
        with suppress(json.JSONDecodeError):
            if isinstance(document := response.json(), dict):
                return document
        return {"message": f"HTTP {response.status_code} {response.text.strip()[:200]}".strip()}


def parse_address(url: str) -> tuple[str, str | None, str | None]:
    """Split `http://HOST:PORT[/predictions/NAME[/VERSION]]` into address, name and version.

    Raises:
        InputError: it is no such address.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        path = _PREDICTIONS.fullmatch(parts.path.rstrip("/"))
    except ValueError:  # a port that is none
        known, path = False, None
    if not known or not path:
        raise InputError(
            f"{url!r} isn't an inference address; give http://HOST:PORT or "
            "http://HOST:PORT/predictions/NAME, with /VERSION for another than the default"
        )
    name, version = (part and unquote(part) for part in path.groups())
    return f"{parts.scheme}://{parts.netloc}", name, version
