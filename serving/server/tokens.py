"""TorchServe's tokens: read from its file, renewed before they run out.

TorchServe writes three to `key_file.json`: one for inference, one for management, and one that only
renews the other two. They run out after an hour. A renewed token replaces the one before at once, for
everybody, and a moment later in the file.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import httpx

from model.errors import InputError
from model.files import read_json, reading
from serving.server.connection import Connection

Kind = Literal["inference", "management"]
KINDS: tuple[Kind, ...] = ("inference", "management")
_RENEW_BEFORE_S = 300
NEW_TOKEN_S = 1.0  # until a renewed token is in the file
_POLL_S = 0.02
_REMEDY = "TorchServe writes the tokens there when it starts: stop the server and start it again"


class Tokens:
    """The tokens of one server."""

    def __init__(
        self,
        key_file: Path | None,
        management: str,
        connection: Connection,
        fixed: str = "",
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Read `key_file` and renew at the address `management`, or use a `fixed` token.

        `check` is called before a token is given away; it raises if the address isn't the server's.
        """
        self._key_file, self._management, self._connection = key_file, management, connection
        self._fixed, self._check = fixed, check

    def get(self, kind: Kind) -> str:
        """Read a token, renewed if it runs out within minutes; empty where no call needs one."""
        self._check()
        if self._fixed or self._key_file is None:
            return self._fixed
        if self.seconds_left(kind) < _RENEW_BEFORE_S:
            self.renew(kind)
        return self._read(kind)[0]

    def keep(self) -> None:
        """Renew tokens that run out within minutes; called each minute, there is always a good one."""
        for kind in KINDS:
            self.get(kind)

    def seconds_left(self, kind: Kind) -> float:
        """Say for how many seconds a token is good; negative if it ran out."""
        expires = self._read(kind)[1].replace("Z", "+00:00")
        with reading(self._key_file or Path(), _REMEDY):
            return (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()

    def renew(self, kind: Kind) -> None:
        """Let TorchServe replace a token; the one before is no longer accepted."""
        key, _ = self._read("API")
        self._connection.call("GET", f"{self._management}/token", key, params={"type": kind})

    def replacement(self, refused: str, kind: Kind) -> str:
        """Wait a moment for the token that takes the place of a refused one."""
        until = time.monotonic() + NEW_TOKEN_S
        while (token := self.get(kind)) == refused and time.monotonic() < until:
            time.sleep(_POLL_S)
        return token

    def _read(self, kind: Kind | Literal["API"]) -> tuple[str, str]:
        """Read a token and until when it is good; the one that renews the others, "API", is always."""
        path = self._key_file or Path()
        until = time.monotonic() + NEW_TOKEN_S
        while True:
            try:
                with reading(path, _REMEDY):
                    entry = read_json(path, remedy=_REMEDY)[kind]
                    token = entry["key"], "" if kind == "API" else entry["expiration time"]
                    if all(isinstance(word, str) for word in token):
                        return token
                    raise TypeError("a token isn't text")
            except InputError:  # TorchServe may be writing it
                if not path.exists() or time.monotonic() > until:
                    raise
            time.sleep(_POLL_S)


def is_refused(response: httpx.Response) -> bool:
    """Whether an answer says that the token is no longer good, or never was."""
    return response.status_code == 400 and '"InvalidKeyException"' in response.text
