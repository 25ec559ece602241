"""Who may talk to the page: the tab that shows it, under a name of this machine, in bounded uploads.

Listening on 127.0.0.1 keeps other machines out, but not the other pages in this machine's browser.
They can send a form anywhere, so `Origin` must be the page's own. They can embed or fetch what names no
origin, so `Sec-Fetch-*` counts where a browser sends it (https://www.w3.org/TR/fetch-metadata/). They
can let their own host name stand for this machine ("DNS rebinding"), so `Host` must be a name of this
machine; the port is free, for tunnels.
"""

import re

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_UPLOAD_BYTES = 256 << 20  # of all photos that are given at once
MAX_FILE_BYTES = 64 << 20  # of each; the server takes less, and the page says how much
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", re.I)


class Guard:
    """ASGI middleware that refuses everybody else before a body is read."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through or answer 403, 411 or 413."""
        refusal = None if scope["type"] == "lifespan" else _why_not(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            status, message = refusal
            closing = {"connection": "close"}  # with what wasn't read
            await PlainTextResponse(message, status, headers=closing)(scope, receive, send)


def _why_not(scope: Scope) -> tuple[int, str] | None:
    headers = Headers(scope=scope)
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return 403, f"{hosts} isn't a name of this machine; open the page as http://127.0.0.1:PORT"
    if origins and [origin.lower() for origin in origins] != [f"http://{hosts[0].lower()}"]:
        return 403, f"{origins} may not use this page; open it by its own address"
    if not _is_own_or_opened(scope.get("method"), headers):
        return 403, "another page may not use this one; open it by its own address"
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        return 411, "send the body's length"
    if int(length) > MAX_UPLOAD_BYTES:
        return 413, f"{length} bytes are more than {MAX_UPLOAD_BYTES}; give fewer photos at once"
    return None


def _is_own_or_opened(method: str | None, headers: Headers) -> bool:
    """Whether a browser says that the page itself asks, or that it is being opened in a tab."""
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    opened = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
    return method == "GET" and opened == ("navigate", "document")
