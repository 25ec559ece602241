"""HTTP to a TorchServe, or to the gate before it: all requests but those of a measured load.

The environment's proxies play no part: ours listens on loopback, where they can't reach it, and a token
mustn't pass through one that nobody chose. Nor is a redirection followed, wherever it leads.
"""

import ssl
from pathlib import Path
from typing import Any

import httpx

from model.errors import FlyobjError, InputError
from serving.names import CA_FILE


class NoAnswer(FlyobjError):
    """The server isn't there or takes too long; `timed_out` tells which."""

    def __init__(self, message: str, timed_out: bool) -> None:
        """Keep which of the two it was."""
        super().__init__(message)
        self.timed_out = timed_out


class Connection(httpx.Client):
    """Kept-alive connections for any number of threads; close it, or use it in a `with`."""

    def __init__(
        self,
        timeout_s: float,
        transport: httpx.BaseTransport | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Wait `timeout_s` for an answer; `transport` stands in for httpx's own.

        Certificates must come from an authority in `ca_file`; without it from a public one.
        """
        more: dict[str, Any] = {"verify": trust(ca_file)} if ca_file else {}
        more |= {"trust_env": False, "follow_redirects": False}
        super().__init__(timeout=timeout_s, transport=transport, **more)

    def call(self, method: str, url: str, token: str | None = None, **more: Any) -> httpx.Response:
        """Make a request with httpx's other arguments; raises `NoAnswer`, but not for a status."""
        try:
            return self.request(method, url, headers=authorization(token), **more)
        except (httpx.TransportError, httpx.DecodingError) as error:
            host = str(httpx.URL(url).copy_with(path="/", query=None)).rstrip("/")
            message = f"the server at {host} doesn't answer ({type(error).__name__})"
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                message = (
                    f"{host} has a certificate that isn't trusted here ({error}); give the file of its "
                    f"authority, or of a self-signed one itself, as {CA_FILE}"
                )
            raise NoAnswer(message, isinstance(error, httpx.TimeoutException)) from error


def trust(ca_file: Path) -> ssl.SSLContext:
    """Trust the certificates in a file of PEM, and what they have signed, alone.

    Raises:
        InputError: it holds none.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError is one
        raise InputError(
            f"{str(ca_file)!r} holds no certificate ({error}); give the PEM file that the server's was "
            "signed by"
        ) from error


def authorization(token: str | None) -> dict[str, str]:
    """Return the header that a request with this token has; none without a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
