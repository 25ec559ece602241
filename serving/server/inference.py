"""A running server, wherever it is: photos go to its inference address and come back answered.

Unlike `serving.server.client`, which manages a server of this machine through its home folder, this
needs nothing but the address and, where the server wants one, a token.
"""

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from model.bundle import ModelSpec
from model.errors import InputError
from serving.names import DEFAULT_MODEL
from serving.server.connection import Connection, NoAnswer

CLIENTS = 8  # requests at a time, so that batches form
_TIMEOUT_S = 60
_PREDICTIONS = re.compile(r"/predictions/[^/]+(/[^/]+)?")

Token = Callable[[], str | None]


class RemoteModel:
    """The model at one inference address; made by `open_url`."""

    spec: ModelSpec | None = None  # an inference address doesn't say

    def __init__(self, url: str, connection: Connection, token: Token) -> None:
        """Ask `url`, `.../predictions/NAME[/VERSION]`, what it makes of a grey photo.

        Raises:
            InputError: nothing answers there, or not as a classifier of ours.
        """
        self.description = f"server {url}"
        self._url, self._connection, self._token = url, connection, token
        grey = io.BytesIO()
        Image.new("RGB", (64, 64), "grey").save(grey, "PNG")
        try:
            answer = self._ask(grey.getvalue(), False, token())
        except NoAnswer as error:
            raise InputError(
                f"nothing answers at {url}: {error}; start a server with "
                "`flyobj serve --detach`, or give the address of one that runs"
            ) from error
        if not isinstance(answer.get("probabilities"), dict):
            raise InputError(
                f"{url} didn't classify a photo: {answer.get('message', answer)}; check the name and "
                "the version, and give the --home of the server, or its token as FLYOBJ_TOKEN"
            )
        self.classes = tuple(answer["probabilities"])

    def answer(self, photos: Sequence[bytes], explain: bool = False) -> list[dict[str, Any]]:
        """Answer photos, several at a time; one that is refused has a code and a message."""
        token = self._token()
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(lambda photo: self._ask(photo, explain, token), photos))

    def _ask(self, photo: bytes, explain: bool, token: str | None) -> dict[str, Any]:
        url = self._url.replace("/predictions/", "/explanations/", 1) if explain else self._url
        response = self._connection.call("POST", url, token, content=photo)
        try:
            document = response.json()
        except json.JSONDecodeError:
            document = None
        if isinstance(document, dict):
            return document
        return {"message": f"HTTP {response.status_code} {response.text.strip()[:200]}".strip()}


@contextmanager
def open_url(
    url: str, token: Token, model: str = DEFAULT_MODEL, proxy: str | None = None
) -> Iterator[RemoteModel]:
    """Connect to `http://HOST:PORT[/predictions/NAME[/VERSION]]`.

    Args:
        url: without a path, the default version of `model` is asked.
        token: gives the inference token, or None for a server without tokens.
        model: the name of the server's model, where `url` has none.
        proxy: URL of a proxy to go through; the environment's aren't used.

    Raises:
        InputError: it is no such address, or nothing there classifies photos.
    """
    address = _inference_address(url, model)
    with Connection(_TIMEOUT_S, proxy=proxy) as connection:
        yield RemoteModel(address, connection, token)


def _inference_address(url: str, model: str) -> str:
    try:
        parts = urlsplit(url)
        path = parts.path.rstrip("/") or f"/predictions/{model}"
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        known, path = False, ""
    if not known or not _PREDICTIONS.fullmatch(path):
        raise InputError(
            f"{url!r} isn't an inference address; give http://HOST:PORT or "
            "http://HOST:PORT/predictions/NAME, with /VERSION for another than the default"
        )
    return f"{parts.scheme}://{parts.netloc}{path}"
