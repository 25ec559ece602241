"""Where servers are found without being named, and commands that name them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.options import choose_home
from model.errors import InputError
from serving.server import homes, lifecycle
from tests.helpers.servers import stand_in

MakeServer = Callable[[Path, int], subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder, and a folder to be in, of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "state"


@pytest.fixture
def running() -> Iterator[MakeServer]:
    """Start something that looks like a home's server, as it would be after `flyobj serve`."""
    with ExitStack() as stack:
        yield lambda home, port: stack.enter_context(stand_in(home, port))


def test_the_only_server_that_runs_is_used(
    running: MakeServer, tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_home(None) == Path("runs/server")
    running(tmp_path / "one", 8080)
    assert choose_home(None) == tmp_path / "one"
    assert (state / "flyobj" / "homes").stat().st_mode & 0o077 == 0
    assert f"with home {tmp_path}/one, the only server that runs" in capsys.readouterr().err
    assert choose_home(Path("named")) == Path("named")


def test_several_are_listed_as_commands(
    running: MakeServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running(Path("in here"), 8080)
    running(tmp_path / "other", 8090)
    monkeypatch.setattr(sys, "argv", ["flyobj", "loadtest", "--json", "--", "--users", "4"])
    with pytest.raises(InputError, match="2 servers run"):
        choose_home(None)
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "flyobj loadtest --json --home 'in here' -- --users 4",
        f"flyobj loadtest --json --home {tmp_path}/other -- --users 4",
    ]
    with pytest.raises(InputError) as error:
        lifecycle.require(Path("third"))
    assert "`flyobj serve --detach --home third`" in str(error.value)
    assert "--home 'in here' (port 8080)" in str(error.value)


def test_the_home_of_this_folder_comes_first_even_after_a_kill(
    running: MakeServer, tmp_path: Path
) -> None:
    running(tmp_path / "other", 8090)
    process = running(Path("runs/server"), 8080)
    assert choose_home(None) == Path("runs/server")
    process.kill()
    process.wait()
    assert choose_home(None) == Path("runs/server")
    assert [server.port for server in lifecycle.list_running()] == [8090]


def test_what_has_ended_is_forgotten(running: MakeServer, tmp_path: Path) -> None:
    process = running(tmp_path / "one", 8080)
    assert homes.remembered() == [tmp_path / "one"]
    process.kill()
    process.wait()
    assert lifecycle.list_running() == []
    assert homes.remembered() == []


def test_a_process_that_is_no_server_is_never_listed(running: MakeServer, tmp_path: Path) -> None:
    running(tmp_path / "one", 8080)
    document = json.loads((tmp_path / "one" / "server.json").read_text())
    (tmp_path / "one" / "server.json").write_text(json.dumps(document | {"pid": os.getpid()}))
    assert lifecycle.list_running() == []


def test_a_register_of_somebody_else_is_not_read(
    running: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(tmp_path / "one", 8080)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert homes.remembered() == []


@pytest.mark.parametrize("spoil", ["a file", "nowhere", "relative"])
def test_nothing_depends_on_the_register(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    if spoil == "a file":
        state.write_text("")
    elif spoil == "nowhere":
        monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    else:
        monkeypatch.setenv("XDG_STATE_HOME", "state")
        monkeypatch.setenv("HOME", "/proc/none")
    homes.remember(tmp_path)
    homes.forget(tmp_path)
    assert homes.remembered() == []
    assert not Path("state").exists()


@pytest.mark.parametrize(
    ("home", "named"),
    [
        ("runs/server", ""),
        ("my home", " --home 'my home'"),
        ("/srv/one", " --home /srv/one"),
        (None, ""),
    ],
)
def test_commands_name_the_home_where_it_is_needed(home: str | None, named: str) -> None:
    assert homes.command("models list", home=home) == f"flyobj models list{named}"


def test_the_variable_is_the_default_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYOBJ_HOME", "mine")
    assert homes.command("stop", home="mine") == "flyobj stop"
    assert homes.command("predict", "a b.jpg", home="runs/server") == (
        "flyobj predict 'a b.jpg' --home runs/server"
    )
