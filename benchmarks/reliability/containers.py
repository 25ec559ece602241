"""Docker or podman, whichever runs here."""

import argparse
import shlex
import shutil
import subprocess

from model.errors import FlyobjError, InputError


class Failed(FlyobjError):
    """The image didn't do what is said of it."""


class Engine:
    """Docker or podman."""

    def __init__(self, name: str, flags: str) -> None:
        """Take the program's name and flags for each of its calls."""
        self._command = [name, *shlex.split(flags)]

    def command(self, *arguments: object) -> list[str]:
        """Return the command of a call."""
        return [*self._command, *map(str, arguments)]

    def __call__(self, *arguments: object, check: bool = True) -> str:
        """Run it; returns standard output, or raises `Failed`."""
        command = self.command(*arguments)
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and ended.returncode:
            raise Failed(f"{shlex.join(command[:4])} ...: {(ended.stderr or ended.stdout)[-500:]}")
        return ended.stdout.strip()

    def succeeds(self, *arguments: object) -> bool:
        """Whether a call ends with 0."""
        return subprocess.run(self.command(*arguments), capture_output=True, check=False).returncode == 0


def engine_with(image: str, name: str | None, flags: str) -> Engine:
    """Find docker or podman, which has an image; raises `InputError`."""
    for tried in [name] if name else ["docker", "podman"]:
        if shutil.which(tried) and (engine := Engine(tried, flags)).succeeds("info"):
            if engine.succeeds("image", "inspect", image):
                return engine
            raise InputError(f"{tried} has no image {image}; `make image`, `make lambda-image` build it")
    raise InputError("neither docker nor podman runs here; install one, or name it: --engine")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options of what runs containers."""
    parser.add_argument("--engine", help="docker or podman; the first that runs")
    parser.add_argument("--flags", default="", help="of the engine, as '--runtime /usr/sbin/runc'")
    parser.add_argument("--run-flags", default="", help="more flags of its `run`")
