"""The servers behind one nginx, and taking them out of the traffic one at a time.

`deploy/nginx/fleet.conf` reads its servers from `servers.conf` beside it, a line for each. A server is
out while its line says `down`; the rest of a line (`weight=2`) is the operator's.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from model.errors import FlyobjError, InputError
from model.files import read_text
from serving.fleet import nginx
from serving.names import DEFAULT_PROXY_PORT

SERVERS, KEYS = "servers.conf", "keys.conf"
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
        stock = f"listen 127.0.0.1:{DEFAULT_PROXY_PORT};"
        nginx.install(proxy, "fleet.conf", {stock: f"listen 127.0.0.1:{listen};"})
        if not (proxy / KEYS).exists():
            (proxy / KEYS).touch(mode=0o600)
            (proxy / KEYS).write_text(f'"Bearer {secrets.token_urlsafe(24)}" 1;\n', encoding="utf-8")
        if not (proxy / SERVERS).exists():
            (proxy / SERVERS).write_text("".join(f"server {s} {_HEALTH};\n" for s in servers))
        if missing := [s for s in servers if not _line_pattern(s).search(self._read())]:
            raise InputError(
                f"{str(proxy / SERVERS)!r} doesn't have {missing}; add a line for each, or correct the "
                "addresses (`upstream` in the file of servers)"
            )

    @property
    def runs(self) -> bool:
        """Whether nginx runs."""
        return bool(nginx.workers(self.proxy))

    @contextmanager
    def take_out(self, server: str) -> Iterator[None]:
        """Take a server out, wait for its last answers, and put it back if the body succeeds."""
        before = nginx.workers(self.proxy)
        if nginx.write(self.proxy, SERVERS, self._edit(server, down=True)):
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
        if (text := self._edit(server, down=False)) != self._read():
            nginx.write(self.proxy, SERVERS, text)

    def _read(self) -> str:
        return read_text(self.proxy / SERVERS, "remove it, and it is made anew")

    def _edit(self, server: str, down: bool) -> str:
        def line(found: re.Match[str]) -> str:
            rest = found[2].replace(" down", "") + (" down" if down else "")
            return f"{found[1]}{rest};"

        return _line_pattern(server).sub(line, self._read())


def _line_pattern(server: str) -> re.Pattern[str]:
    return re.compile(rf"^(\s*server\s+{re.escape(server)})((?:\s[^;]*)?);", re.M)
