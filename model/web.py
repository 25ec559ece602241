"""What browsers need to ask a server of another origin: https://fetch.spec.whatwg.org/#http-cors-protocol."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from model.errors import InputError

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.I)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_domain(name: str) -> bool:
    """Whether a name could be a host's: letters, digits and hyphens (RFC 1123), and no IP address."""
    labels = name.split(".")
    return len(name) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdecimal()


def check_origins(origins: Sequence[str]) -> list[str]:
    """Check origins of pages that may ask, as browsers name them: `https://app.example.org`.

    Raises:
        InputError: one has a path, is `*`, or is no origin for another reason.
    """
    return [_check_origin(origin) for origin in dict.fromkeys(origins)]


def _check_origin(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is none
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in _DEFAULT_PORTS or not (is_domain(host) or _is_ipv4(host)):
        raise InputError(
            f"{origin!r} isn't an origin; give the scheme and host of the page, as https://app.example.org"
        )
    shown = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    plain = f"{parts.scheme}://{host}{shown}"
    if origin != plain:
        raise InputError(
            f"{origin!r} isn't an origin as browsers send it, without a path, a usual port or capitals; "
            f"give {plain!r}"
        )
    return origin


def _is_ipv4(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and all(part.isdecimal() and int(part) < 256 for part in parts)
