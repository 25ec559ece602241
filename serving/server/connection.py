"""HTTP to a TorchServe: every request that isn't part of a measured load is sent here.

The environment's proxies play no part: ours listens on loopback, where they can't reach it, and a token
mustn't pass through one that nobody chose. Nor is a redirection followed, wherever it leads.
"""

from typing import Any

import httpx

from model.errors import FlyobjError


class NoAnswer(FlyobjError):
    """The server isn't there or takes too long; `timed_out` tells which."""

    def __init__(self, message: str, timed_out: bool) -> None:
        """Keep which of the two it was."""
        super().__init__(message)
        self.timed_out = timed_out


class Connection(httpx.Client):
    """Kept-alive connections for any number of threads; close it, or use it in a `with`."""

    def __init__(self, timeout_s: float, transport: httpx.BaseTransport | None = None) -> None:
        """Wait `timeout_s` for an answer; `transport` stands in for httpx's own."""
        super().__init__(timeout=timeout_s, transport=transport, trust_env=False, follow_redirects=False)

    def call(self, method: str, url: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Make a request with httpx's other arguments; raises `NoAnswer`, but not for a status."""
        try:
            return self.request(method, url, headers=authorization(token), **more)
        except (httpx.TransportError, httpx.DecodingError) as error:
            host = str(httpx.URL(url).copy_with(path="/", query=None)).rstrip("/")
            message = f"the server at {host} doesn't answer ({type(error).__name__})"
            raise NoAnswer(message, isinstance(error, httpx.TimeoutException)) from error


def authorization(token: str | None) -> dict[str, str]:
    """Return the header that a request with this token has; none without a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
