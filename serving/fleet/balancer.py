"""The servers behind one nginx, and taking them out of the traffic one at a time.

nginx.conf reads its servers from `servers.conf` beside it, a line for each. A server is
out while its line says `down`; the rest of a line (`weight=2`) is the operator's.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from model.errors import FlyobjError, InputError
from serving.fleet import nginx
from serving.names import DEFAULT_PROXY_PORT

SERVERS = "servers.conf"
# One failure is enough to ask others, for a moment: a killed server refuses at once, and comes back.
_HEALTH = "max_fails=1 fail_timeout=1s"


class Balancer:
    """An nginx in a folder, and the servers (HOST:PORT, as nginx reaches them) behind it."""

    def __init__(
        self, proxy: Path, servers: Sequence[str], timeout_s: float, listen: int = DEFAULT_PROXY_PORT
    ) -> None:
        """Write what is missing; nginx needn't run.

        `timeout_s` is for the requests of a server that is taken out, `listen` nginx's port where there
        is no nginx.conf yet.

        Raises:
            InputError: there is only one server, or `servers.conf` has others than these.
        """
        if len(servers) < 2:
            raise InputError(
                "a balancer needs two servers: one answers while the other is changed; name the second, "
                "or leave --proxy out"
            )
        self.proxy, self._timeout_s = proxy, timeout_s
        rate = 200 * len(servers)
        changes = {"200r/s": f"{rate}r/s", "burst=200": f"burst={rate}"}
        stock = f"listen 127.0.0.1:{DEFAULT_PROXY_PORT};"
        nginx.install(proxy, {**changes, stock: f"listen 127.0.0.1:{listen};"})
        nginx.write_new(proxy / nginx.KEYS, f'"Bearer {secrets.token_urlsafe(24)}" first;\n')
        nginx.write_new(proxy / SERVERS, "".join(f"server {s} {_HEALTH};\n" for s in servers))
        require_upstreams(proxy, servers)

    @property
    def runs(self) -> bool:
        """Whether nginx runs."""
        return bool(nginx.workers(self.proxy))

    @contextmanager
    def take_out(self, server: str) -> Iterator[None]:
        """Take a server out, wait for its last answers, and put it back if the body succeeds."""
        before = nginx.workers(self.proxy)
        if set_upstream(self.proxy, server, up=False):
            _, left = psutil.wait_procs(before, self._timeout_s)
            if left:
                raise FlyobjError(
                    f"{server} still had requests after {self._timeout_s:g} s; it stays out of "
                    f"{str(self.proxy)!r}; run it again, or with a longer --timeout"
                )
        yield
        self.put_back(server)

    def put_back(self, server: str) -> None:
        """Let a server have requests again, if it was out."""
        set_upstream(self.proxy, server, up=True)


def require_upstreams(proxy: Path, servers: Sequence[str]) -> None:
    """Raise `InputError` if `servers.conf` lacks one of these."""
    text = nginx.read(proxy / SERVERS)
    if missing := [s for s in servers if not _line_pattern(s).search(text)]:
        raise InputError(
            f"{str(proxy / SERVERS)!r} doesn't have {missing}; add a line for each, or correct the "
            "addresses (`upstream` in the file of servers)"
        )


def set_upstream(proxy: Path, server: str, up: bool) -> bool:
    """Give a server requests, or none; True if a running nginx was told, as it wasn't so before."""

    def line(found: re.Match[str]) -> str:
        rest = found[2].replace(" down", "") + ("" if up else " down")
        return f"{found[1]}{rest};"

    before = nginx.read(proxy / SERVERS)
    after = _line_pattern(server).sub(line, before)
    return after != before and nginx.write(proxy, SERVERS, after)


def _line_pattern(server: str) -> re.Pattern[str]:
    return re.compile(rf"^(\s*server\s+{re.escape(server)})((?:\s[^;]*)?);", re.M)
