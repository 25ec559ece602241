"""A deploy that fails leaves nothing, and a restart serves what is intact; on a real server."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model.errors import FlyobjError
from serving.rollout import health
from serving.rollout.deployment import read_deployment, write_deployment
from serving.rollout.operations import deploy
from serving.rollout.reconcile import diff
from serving.server.client import Client
from serving.server.versions import Version, find_version, list_versions
from tests.helpers.servers import Home

if TYPE_CHECKING:
    from tests.conftest import FlyObj


@pytest.fixture(scope="module")
def home(
    new_home: Callable[[str], Home], archive_path: Path, as_version: Callable[[Path, str], Path]
) -> Home:
    """A server with 1.0, the default, and 2.0, one worker each."""
    home = new_home("intact")
    home.start()
    with home.client() as client:
        deploy(client, archive_path, workers=1)
        deploy(client, as_version(home.store, "2.0"), workers=1)
    return home


@pytest.fixture
def third(as_version: Callable[[Path, str], Path], tmp_path: Path) -> Path:
    """An archive that isn't in the store."""
    return as_version(tmp_path, "3.0")


def state(home: Home, client: Client) -> tuple[set[str], str, list[Version]]:
    """Everything that a deploy may change, but for the history."""
    stored = {p.name for p in home.store.iterdir()} - {"deployment-history.jsonl"}
    return stored, (home.store / "deployment.json").read_text(), list_versions(client)


@pytest.mark.parametrize("name", ["deployment.json", "flying_objects-3.0.mar"])
def test_a_deploy_that_cannot_write_leaves_nothing(home: Home, third: Path, name: str) -> None:
    """A folder is where this process would write the file."""
    with home.client() as client:
        before = state(home, client)
        blocked = home.store / f".{name}.{os.getpid()}.partial"
        blocked.mkdir()
        try:
            with pytest.raises(FlyobjError, match=f"{name}' can't be written"):
                deploy(client, third, workers=1)
        finally:
            blocked.rmdir()
        assert state(home, client) == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_deploy_that_is_stopped_leaves_nothing(home: Home, third: Path, how: signal.Signals) -> None:
    with home.client() as client:
        before = state(home, client)
        process = start_deploy(home, client, third)
        process.send_signal(how)
        assert process.wait(60) == 130
        assert state(home, client) == before


def test_a_deploy_that_is_killed_is_finished_by_the_next_one(home: Home, third: Path) -> None:
    with home.client() as client:
        before = state(home, client)
        (home.store / f".{third.name}.4194304.partial").write_bytes(b"half")  # killed while it copied
        process = start_deploy(home, client, third)
        process.kill()
        process.wait()
        assert read_deployment(home.store).versions.keys() == {"1.0", "2.0"}
        deploy(client, third, workers=1)
        stored, _, versions = state(home, client)
        assert (stored, [v.version for v in versions]) == (
            before[0] | {third.name},
            ["1.0", "2.0", "3.0"],
        )
        write_deployment(read_deployment(home.store).without("3.0"), home.store)
        client.unregister("3.0")
        (home.store / third.name).unlink()


def start_deploy(home: Home, client: Client, archive: Path) -> subprocess.Popen[bytes]:
    """Run `flyobj models deploy` until its version is on the server."""
    command = [str(Path(sys.executable).with_name("flyobj")), "models", "deploy", str(archive)]
    command += ["--home", str(home.path), "--workers", "1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 60
    while find_version(client, "3.0") is None:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


def test_a_restart_serves_what_is_intact(home: Home, flyobj: "FlyObj", photos: list[bytes]) -> None:
    place = ("--home", home.path, "--model-store", home.store, "--port", home.port, "--json")
    archives = {v: home.store / f"flying_objects-{v}.mar" for v in ("1.0", "2.0")}
    kept = {v: path.read_bytes() for v, path in archives.items()}
    archives["2.0"].write_bytes(kept["2.0"] + b"x")
    home.stop()
    said = flyobj("serve", "--detach", *place)
    document = json.loads(said.stdout)
    assert [v["version"] for v in document["versions"]] == ["1.0"]
    assert list(document["not_served"]) == ["2.0"]
    assert "2.0.mar' is not the archive that was deployed" in document["not_served"]["2.0"]
    assert "version 2.0 isn't served: " in said.stderr
    assert health.why_not_ready(home.path) is None
    with home.client() as client:
        assert client.predict(photos[0])["model_version"] == "1.0"
        assert [(c.action, c.version) for c in diff(client)] == [("register", "2.0")]
        flyobj("models", "apply", "--home", home.path, code=2)
        archives["2.0"].write_bytes(kept["2.0"])
        flyobj("models", "apply", "--home", home.path)
        assert diff(client) == []

    shutil.copyfile(archives["2.0"], archives["1.0"])
    home.stop()
    said = flyobj("serve", "--detach", *place, code=2)
    message = " ".join(said.stderr.split())
    assert "version 1.0, the default in" in message
    assert """or make one of ['2.0'] the "default" there""" in message
    assert str(health.why_not_live(home.path)).startswith(f"no server runs with home {str(home.path)!r}")
    archives["1.0"].write_bytes(kept["1.0"])
