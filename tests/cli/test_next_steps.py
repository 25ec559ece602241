"""The commands that are said to come next, where no server has to run for that."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.next_steps import after_archive, after_evaluate, after_prepare
from tests.helpers.servers import stand_in


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, and a register of servers, of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "my photos").mkdir()
    monkeypatch.chdir(tmp_path / "my photos")
    return Path.cwd()


def test_the_way_from_photos_to_an_archive(here: Path) -> None:
    assert after_prepare(Path("data/a b")) == ["next: flyobj train 'data/a b'"]
    assert after_evaluate(Path("runs/1")) == ["next: flyobj archive runs/1 --version 1.0"]
    (here / "model-store").mkdir()
    (here / "model-store" / "flying_objects-1.0.mar").touch()
    assert after_evaluate(Path("runs/2")) == ["next: flyobj archive runs/2 --version 2.0"]


def test_an_archive_goes_to_the_server_of_its_store(here: Path, tmp_path: Path) -> None:
    path = Path("model-store/flying_objects-1.0.mar")
    deploy = f"flyobj models deploy {path}"
    assert after_archive(path) == [f"next: flyobj serve --detach && {deploy}"]
    with stand_in(tmp_path / "other", 8090):
        assert after_archive(path) == [f"next: flyobj serve --detach && {deploy}"]
        with stand_in(tmp_path / "one", 8080, here / "model-store"):
            assert after_archive(path) == [f"next: {deploy} --home {tmp_path}/one"]
    elsewhere = Path("store 2/flying_objects-1.0.mar")
    assert after_archive(elsewhere) == [
        "next: flyobj serve --detach --model-store 'store 2' && flyobj models deploy "
        "'store 2/flying_objects-1.0.mar'"
    ]


def test_a_fleet_whose_nginx_does_not_run_has_it_started(
    inside: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.fleet.apply.apply_to_fleet", lambda *_: [])
    store = tmp_path / "store"
    with stand_in(tmp_path / "one", 8080, store), stand_in(tmp_path / "two", 8090, store):
        servers = ("--server", tmp_path / "one", "--server", tmp_path / "two")
        places = ("--model-store", store, "--proxy", "a proxy")
        said = inside("models", "apply", *servers, *places).stderr
    assert said == "nginx isn't running; start it: nginx -p 'a proxy' -c nginx.conf\n"
