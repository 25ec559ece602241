"""Which servers a fleet has: named on the command line, or in a file.

    {"servers": [
      {"home": "runs/a"},
      {"url": "http://127.0.0.1:9080"},
      {"url": "http://127.0.0.1:9180", "management": "http://127.0.0.1:9181",
       "key_file": "keys/b.json", "upstream": "10.0.0.5:8080"}
    ]}

A home is a server of this machine, whose tokens and store we find there. An address is another machine's
or a container's, reached through a tunnel (TorchServe listens on loopback alone): `management` is the
next port if not given, `key_file` a copy of that server's `key_file.json`, left out where it runs
without tokens, and `upstream` is where the balancer reaches it, if that is not `url`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from model.errors import InputError
from model.files import exact_keys, read_json, reading
from serving.server.lifecycle import Server, require
from serving.server.remote_server import RemoteServer, port_after

_REMEDY = "correct the file of servers"
_check_keys = partial(exact_keys, remedy=_REMEDY)
_OPTIONAL = ("management", "key_file", "upstream")


@dataclass(frozen=True)
class FleetServer:
    """A server, named as the user gave it; the balancer reaches it at HOST:PORT `upstream`."""

    name: str
    server: Server | RemoteServer
    upstream: str


def parse_servers(names: Sequence[str], store: Path, drained: bool) -> list[FleetServer]:
    """Find the servers named on the command line.

    Args:
        names: a home of this machine, `http://HOST:PORT` or `http://HOST:PORT=KEY_FILE`.
        store: the fleet's model store.
        drained: a balancer keeps requests away from a server while it is changed.

    Raises:
        InputError: a name is none of these, no server runs there, or two are the same.
    """
    members = []
    for name in names:
        url, _, key_file = name.partition("=")
        remote = {"url": url, **({"key_file": key_file} if key_file else {})}
        members.append(_member(remote if "://" in name else {"home": name}, store, drained))
    return _require_distinct(members)


def read_inventory(path: Path, store: Path, drained: bool) -> list[FleetServer]:
    """Read a file of servers; relative paths start at its folder. Errors as of `parse_servers`."""
    with reading(path, _REMEDY):
        return _require_distinct(list(_read_members(path, store, drained)))


def _read_members(path: Path, store: Path, drained: bool) -> Iterator[FleetServer]:
    document = _check_keys(read_json(path, remedy=_REMEDY), ["servers"], repr(str(path)))
    if not isinstance(document["servers"], list) or not document["servers"]:
        raise InputError(f"{str(path)!r}: 'servers' must be a list of at least one server")
    for number, entry in enumerate(document["servers"], 1):
        where = f"{str(path)!r}, server {number}"
        values = entry.values() if isinstance(entry, dict) else ()
        if bad := [value for value in values if not isinstance(value, str)]:
            raise InputError(f"{where}: {bad[0]!r} must be text")
        is_home = isinstance(entry, dict) and "home" in entry
        entry = _check_keys(entry, ["home"] if is_home else ["url", *_OPTIONAL], where, _OPTIONAL)
        for key in {"home", "key_file"} & set(entry):
            entry[key] = str(path.parent / entry[key])
        yield _member(entry, store, drained)


def _member(entry: Mapping[str, str], store: Path, drained: bool) -> FleetServer:
    """Reach the server of an entry: a home of this machine, or an address."""
    store = store.resolve()
    if "home" in entry:
        running = require(Path(entry["home"]))
        if Path(running.model_store) != store:
            raise InputError(
                f"the server of {entry['home']!r} serves {running.model_store!r}, not {str(store)!r}; "
                "give the --model-store that all of them serve, or change this one with --home alone"
            )
        return FleetServer(entry["home"], running, running.upstream)
    url = _check_address(entry["url"])
    management = _check_address(entry.get("management") or port_after(url))
    key_file = Path(entry["key_file"]) if "key_file" in entry else None
    if key_file and not key_file.is_file():
        raise InputError(
            f"key file {str(key_file)!r} of {url}: no such file; copy that server's key_file.json"
        )
    server = RemoteServer(url, management, str(store), key_file, drained)
    return FleetServer(entry["url"], server, entry.get("upstream") or urlsplit(url).netloc)


def _check_address(url: str) -> str:
    """Check `http://HOST:PORT`; localhost becomes 127.0.0.1, so that the same server looks the same."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:  # a port that is none
        good = False
    if not good or parts.query or parts.username:
        raise InputError(
            f"{url!r} isn't a server's address; give the home of a server that runs here, "
            "http://HOST:PORT or http://HOST:PORT=KEY_FILE"
        )
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return f"http://{host}:{parts.port}"


def _require_distinct(members: list[FleetServer]) -> list[FleetServer]:
    for what, count in Counter(member.server.management for member in members).items():
        if count > 1:
            names = [member.name for member in members if member.server.management == what]
            raise InputError(f"{names} are the same server ({what}); name each once")
    return members
