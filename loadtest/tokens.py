"""The inference token, read from the file that TorchServe writes.

Tokens run out after an hour and are renewed by somebody else (`flyobj serve`, `flyobj token --watch`).
The new one replaces the old one at once, and a moment later in the file. So the file is read again from
time to time, and whenever a token is refused.
"""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from loadtest.answers import error_type

AGE_S = 10.0  # after which the file is looked at again
_NEW_TOKEN_S = 1.0  # until a renewed token is in the file
_POLL_S = 0.02


class KeyFile:
    """TorchServe's `key_file.json`; without one a token that stays, empty where none is needed."""

    def __init__(self, path: Path | None, host: str | None = None, fixed: str = "") -> None:
        """Read the token, or take the `fixed` one, such as a gate's key.

        With `host`, it is read only while the server of this file is the one there.

        Raises:
            ValueError: there is none, or it isn't that of `host`; the message says what to do.
        """
        self._path, self._host, self._fixed = path, host, fixed
        self._token, self._read_at = self._read(), time.monotonic()

    def token(self) -> str:
        """Return the token, from the file if it was read a while ago."""
        if time.monotonic() - self._read_at > AGE_S:
            self._look()
        return self._token

    def instead_of(self, refused: str) -> str | None:
        """Return the token that replaces a refused one; None if the file has no other for a second."""
        if self._path is None:
            return None
        until = time.monotonic() + _NEW_TOKEN_S
        while self._token == refused:
            self._look()
            if self._token == refused and time.monotonic() > until:
                return None
            time.sleep(_POLL_S)
        return self._token

    def _look(self) -> None:
        try:
            self._token = self._read()
        except ValueError:  # it is being written, or the server has gone: answers will tell
            return
        finally:
            self._read_at = time.monotonic()

    def _read(self) -> str:
        if self._path is None:
            return self._fixed
        try:
            token = json.loads(self._path.read_text("utf-8-sig"))["inference"]["key"]
            if not isinstance(token, str):
                raise TypeError("the token isn't text")
            server = json.loads(self._path.with_name("server.json").read_text()) if self._host else {}
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise ValueError(
                f"no token in {str(self._path)!r} ({error}); give --key-file FILE, which is "
                "key_file.json in the server's home"
            ) from error
        if self._host and not _is_at(server, self._host):
            raise ValueError(
                f"{str(self._path)!r} isn't of a server at {self._host}; give --key-file FILE, '' if no "
                "token is needed, or this one if it may be sent there"
            )
        return token


def _is_at(server: Any, host: str) -> bool:
    """Whether a server.json is of a process that runs, and listens at an address."""
    try:
        parts, words = urlsplit(host), psutil.Process(server["pid"]).cmdline()
        local = parts.hostname in ("127.0.0.1", "localhost") and parts.port == server["port"]
        return local and f"{server['home']}/config.properties" in words
    except (psutil.Error, ValueError, KeyError, TypeError):
        return False


def is_refused(status: int, body: str | None) -> bool:
    """Whether an answer, a gate's too, says that the token isn't good (any more)."""
    return status in (400, 401) and error_type(body) == "InvalidKeyException"


def authorization(token: str) -> dict[str, str]:
    """Return the header that a request with this token has; none for the empty one."""
    return {"Authorization": f"Bearer {token}"} if token else {}
