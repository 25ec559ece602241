"""A fleet whose servers are on hosts of their own, as docs/fleet.md says to set one up.

Each host (`benchmarks.reliability.wire`) has a copy of the store, a server on its 127.0.0.1, nginx for
photos, and sshd, through which `flyobj models apply` reaches it from a host of the operator's, where the
balancer and the clients are. Needs root, iproute2, nginx and sshd.
"""

import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.reliability.fleet import DRAIN_S, Fleet
from benchmarks.reliability.programs import find_program, wait_for
from benchmarks.reliability.wire import Network
from model.errors import FlyobjError
from model.files import write_json
from serving.fleet import nginx
from serving.fleet.balancer import SERVERS, Balancer
from serving.fleet.inventory import FleetServer, read_inventory
from serving.server.client import Client
from serving.server.versions import list_versions

OPERATOR, LETTERS = "ops", "abc"
_PORT, _GATE_PORT = 8080, 8090


class Hosts(Fleet):
    """A fleet whose servers are reached over a network alone."""

    def __init__(self, network: Network, archive: Path, photo: bytes, folder: Path) -> None:
        """Take a network with the hosts `OPERATOR`, `S3` and one for each of `LETTERS`."""
        super().__init__(archive, photo, folder, servers=len(LETTERS))
        self.network, self.programs = network, ExitStack()
        self.inventory = folder / "fleet.json"
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    def start(self, home: Path) -> None:
        """Bring a host up: its store, server, gate and sshd, and the tunnel to it."""
        name, port = home.name[-1], 9080 + 100 * self.homes.index(home)
        self.ports[home] = port
        self.sync(name)
        options = ["--no-tokens", "--private-ports", "--detach", "--port", _PORT]
        self.flyobj("serve", *options, "--home", home, "--model-store", self.store_of(name), host=name)
        self._start_gate(name)
        self._start_sshd(name)
        ssh = ["ssh", "-N", "-i", self.folder / "key", "-o", "StrictHostKeyChecking=no"]
        ssh += ["-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes", "-q"]
        ssh += ["-L", f"{port}:127.0.0.1:{_PORT}", "-L", f"{port + 1}:127.0.0.1:{_PORT + 1}"]
        self.run_on(OPERATOR, *ssh, f"root@{self.network.address(name)}")
        wait_for("127.0.0.1", port)

    def balancer(self) -> Balancer:
        """Write nginx's files where they are missing, and the file of servers."""
        self.listen = _GATE_PORT
        upstreams = [f"{self.network.address(name)}:{_GATE_PORT}" for name in LETTERS]
        servers = [
            {"url": f"http://127.0.0.1:{port}", "upstream": upstream}
            for port, upstream in zip(self.ports.values(), upstreams, strict=True)
        ]
        write_json({"servers": servers}, self.inventory)
        return Balancer(self.proxy, upstreams, DRAIN_S, self.listen)

    def by_address(self) -> list[FleetServer]:
        """The servers at the local ends of their tunnels."""
        return read_inventory(self.inventory, self.store, drained=True)

    def states(self) -> list[list[tuple[str, bool, int]]]:
        """What each server serves: versions, default, workers."""
        found = []
        for member in self.by_address():
            with Client(member.server) as client:
                found.append([(v.version, v.default, v.workers) for v in list_versions(client)])
        return found

    def store_of(self, name: str) -> Path:
        """A host's own copy of the store."""
        return self.folder / f"store-{name}"

    def sync(self, *names: str) -> None:
        """Copy the store to hosts, as rsync or S3 would have done before an apply."""
        for name in names or LETTERS:
            shutil.copytree(self.store, self.store_of(name), dirs_exist_ok=True)

    def flyobj(self, *words: object, host: str = OPERATOR, code: int = 0) -> str:
        """Run `flyobj` on a host; returns all that it says, raises if its exit code is another one."""
        command = self.network.command(host, sys.executable, "-m", "cli", *words)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != code or "Traceback" in done.stderr:
            raise FlyobjError(f"{words[:2]}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def apply(self, code: int = 0) -> str:
        """`flyobj models apply` of the fleet, by the command line."""
        words = ["--servers", self.inventory, "--proxy", self.proxy, "--model-store", self.store]
        return self.flyobj("models", "apply", *words, code=code)

    def run_on(self, name: str, *words: object, folder: Path | None = None) -> None:
        """Start a program on a host; it ends with the fleet."""
        log = self.programs.enter_context((self.folder / f"{name}.log").open("ab"))
        command = self.network.command(name, *words)
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder or self.folder)
        self.programs.callback(process.wait)
        self.programs.callback(process.terminate)

    def is_out(self, name: str) -> bool:
        """Whether the balancer sends a host nothing."""
        lines = (self.proxy / SERVERS).read_text().splitlines()
        return any(self.network.address(name) in line and " down" in line for line in lines)

    def _start_gate(self, name: str) -> None:
        """Let the balancer's requests in; it has checked their keys."""
        folder = self.folder / f"gate-{name}"
        address = f"{self.network.address(name)}:{_GATE_PORT}"
        nginx.install(folder, {f"listen 127.0.0.1:{_GATE_PORT};": f"listen {address};"})
        nginx.write_new(folder / nginx.KEYS, f"default {nginx.PASS_ON};\n")
        nginx.write_new(folder / SERVERS, f"server 127.0.0.1:{_PORT};\n")
        self.run_on(
            name,
            find_program("nginx", "nginx-light"),
            "-p",
            folder,
            "-c",
            nginx.CONF,
            "-g",
            "daemon off;",
        )

    def _start_sshd(self, name: str) -> None:
        key = self.folder / "key"
        settings = {
            "ListenAddress": self.network.address(name),
            "HostKey": key,
            "AuthorizedKeysFile": f"{key}.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
        }
        config = self.folder / f"sshd-{name}.conf"
        config.write_text("".join(f"{word} {value}\n" for word, value in settings.items()))
        Path("/run/sshd").mkdir(exist_ok=True)  # where it leaves its privileges
        self.run_on(name, find_program("sshd", "openssh-server"), "-D", "-e", "-f", config)
        wait_for(self.network.address(name), 22)
