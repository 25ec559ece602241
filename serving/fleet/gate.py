"""The gate: an nginx in front of a server, in a folder that says who may ask and how much.

`deploy/nginx/nginx.conf` is the one configuration; canaries (`canary`) and fleets (`balancer`) use it
too. The folder can be used where it is, be mounted into a container, or become a Kubernetes Secret.
"""

import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import InputError
from model.web import check_origins, is_domain
from serving.fleet import certificate, nginx
from serving.fleet.balancer import SERVERS
from serving.names import DEFAULT_MODEL, DEFAULT_PORT, DEFAULT_PROXY_PORT, MODEL

_ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):([0-9]{1,5})")
_CONTAINER_METRICS = """
    server {  # for Prometheus; who may reach the port isn't decided here
        listen 8091;
        access_log off;
        location = /metrics { proxy_pass http://127.0.0.1:METRICS/metrics; }
        location / { return 404; }
    }
}
"""


@dataclass(frozen=True)
class GateSettings:
    """What a new gate is like.

    Attributes:
        domain: the only name that it answers to; empty for any.
        tls: the certificate's files; None for plain HTTP.
        origins: whose pages may ask from a browser.
        rate: requests a second that a key may send, and as many at once on top.
        connections: requests of a key at a time.
        listen: ADDRESS:PORT.
        servers: HOST:PORT of each TorchServe.
        container: log to the container's output, and answer Prometheus on port 8091.
        model: whose requests a canary gets a share of.
    """

    domain: str = ""
    tls: certificate.Files | None = None
    origins: Sequence[str] = ()
    rate: int = 200
    connections: int = 64
    listen: str = f"127.0.0.1:{DEFAULT_PROXY_PORT}"
    servers: Sequence[str] = (f"127.0.0.1:{DEFAULT_PORT}",)
    container: bool = False
    model: str = DEFAULT_MODEL

    def __post_init__(self) -> None:
        """Check each value; raises `InputError`."""
        if self.domain and not is_domain(self.domain):
            raise InputError(
                f"{self.domain!r} isn't a domain; give a host's name such as photos.example.org "
                "(xn--... where it has other letters than ASCII's)"
            )
        check_origins(self.origins)
        for name, value in (("rate", self.rate), ("connections", self.connections)):
            if not 1 <= value <= 100_000:
                raise InputError(f"--{name} {value} must be from 1 to 100000: with 0 nobody could ask")
        for address in (self.listen, *self.servers):
            found = _ADDRESS.fullmatch(address)
            if not found or not 0 < int(found[2]) < 65536:
                raise InputError(f"{address!r} isn't an address; give HOST:PORT, as 127.0.0.1:8090")
        if not MODEL.fullmatch(self.model):
            raise InputError(f"{self.model!r} can't be a model's name; see `flyobj archive --name`")


def create(folder: Path, settings: GateSettings) -> str | None:
    """Write a new gate's files; keys and servers that are there stay as they are.

    Returns:
        A first key, named "first"; None if the folder has keys already.

    Raises:
        InputError: the folder holds a gate.
    """
    require_new(folder)
    nginx.install(folder, _changes(settings))
    if settings.container:
        _add_metrics(folder, settings)
    lines = "".join(f"server {address};\n" for address in settings.servers)
    nginx.write_new(folder / SERVERS, lines)
    return None if (folder / nginx.KEYS).exists() else add_key(folder, "first")


def require_new(folder: Path) -> None:
    """Raise `InputError` if a folder holds a gate, or keys that are no secret."""
    conf, keys = folder / nginx.CONF, folder / nginx.KEYS
    if conf.exists():
        raise InputError(
            f"{str(conf)!r} is there already, and may have been edited; remove it and it is made anew "
            "(keys and servers stay), or give another folder"
        )
    certificate.require_private(keys, "the keys")
    if keys.exists() and "default" in nginx.read(keys):
        raise InputError(f"{str(keys)!r} lets everybody in, as a canary's does; give another folder")


def open_to_workers(folder: Path) -> bool:
    """Whether users other than root can go to a folder."""
    return all(
        path.stat().st_mode & stat.S_IXOTH for path in (folder.resolve(), *folder.resolve().parents)
    )


def add_key(folder: Path, name: str) -> str:
    """Make a key and let a running nginx know it; returns the key.

    Raises:
        InputError: the folder holds no gate, or the name is taken or can't be in the log.
    """
    lines = _read_keys(folder)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", name) or name == nginx.PASS_ON:
        raise InputError(
            f"a key can't be called {name!r}; give letters, digits, dots and hyphens, a letter first"
        )
    if any(_name_of(line) == name for line in lines):
        raise InputError(f"there is a key {name!r} already; --remove it, or give another name")
    key = secrets.token_urlsafe(24)
    nginx.write(folder, nginx.KEYS, "".join([*lines, f'"Bearer {key}" {name};\n']))
    return key


def remove_key(folder: Path, name: str) -> None:
    """Let a key in no longer; raises `InputError` if there is none of this name."""
    lines = _read_keys(folder)
    left = [line for line in lines if _name_of(line) != name]
    if left == lines:
        known = sorted(filter(None, map(_name_of, lines)))
        raise InputError(f"there is no key {name!r}; there are {known}")
    nginx.write(folder, nginx.KEYS, "".join(left))


def _read_keys(folder: Path) -> list[str]:
    if not (folder / nginx.CONF).is_file():
        raise InputError(f"{str(folder)!r} holds no gate; `flyobj gate init` makes one")
    path = folder / nginx.KEYS
    text = nginx.read(path) if path.exists() else ""
    return text.splitlines(keepends=True)


def _name_of(line: str) -> str:
    found = re.fullmatch(r'\s*"[^"]*"\s+(\S+);\s*', line)
    return found[1] if found else ""


def _changes(settings: GateSettings) -> dict[str, str]:
    """Say what the stock configuration has, and what stands in its place."""
    listen = f"127.0.0.1:{DEFAULT_PROXY_PORT};"
    changes = {
        "rate=200r/s": f"rate={settings.rate}r/s",
        "burst=200": f"burst={settings.rate}",
        "limit_conn connections 64;": f"limit_conn connections {settings.connections};",
        f"predictions/{DEFAULT_MODEL}": f"predictions/{settings.model}",
        f"listen {listen}": f"listen {settings.listen};",
    }
    if settings.tls:
        lines = [f"listen {settings.listen} ssl;", *settings.tls.directives()]
        if settings.domain and settings.tls.certificate.is_absolute():  # not for tries
            lines.append('add_header Strict-Transport-Security "max-age=63072000" always;')
        changes[f"listen {listen}"] = "\n        ".join(lines)
    if settings.domain:
        known = f'default ""; {settings.domain} 1; '
        changes["map $host $known_host { default 1; }"] = f"map $host $known_host {{ {known}}}"
    if settings.origins:
        lines = ['default "";', *(f'"{origin}" $http_origin;' for origin in settings.origins)]
        joined = "\n        ".join(lines)
        changes['$allowed_origin {\n        default "";'] = f"$allowed_origin {{\n        {joined}"
    if settings.container:
        changes |= {"logs/error.log": "stderr", "logs/access.log": "/dev/stdout"}
    return changes


def _add_metrics(folder: Path, settings: GateSettings) -> None:
    path = folder / nginx.CONF
    port = int(settings.servers[0].rpartition(":")[2]) + 2
    block = _CONTAINER_METRICS.replace("METRICS", str(port))
    path.write_text(nginx.read(path).rstrip().removesuffix("}").rstrip() + "\n" + block)
