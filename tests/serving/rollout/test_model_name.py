"""Another name than the default one, from the archive to every answer."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cli.targets import open_target
from model.errors import InputError
from serving.archive.build import build_archive, read_archive
from serving.rollout.operations import deploy, promote, retire, rollback, scale
from serving.server.versions import list_versions

if TYPE_CHECKING:
    from tests.conftest import Home

FlyObj = Callable[..., Any]


@pytest.fixture(scope="module")
def cats(
    flyobj: FlyObj, run: Path, repack: Callable[..., Path], new_home: Callable[[str], "Home"]
) -> "Home":
    """A server of the model `cats`: version 1.0, by `flyobj archive`, is the default, 2.0 beside it."""
    home = new_home("cats")
    options = ["--name", "cats", "--version", "1.0", "--engine", "openvino", "--model-store", home.store]
    flyobj("archive", run, *options)
    assert read_archive(home.store / "cats-1.0.mar").model == "cats"

    def rename(text: str) -> str:
        return text.replace('"flying_objects"', '"cats"').replace('"1.0"', '"2.0"', 1)

    second = repack(home.store / "cats-2.0.mar", {"MAR-INF/MANIFEST.json": rename})
    home.start()
    flyobj("models", "deploy", home.store / "cats-1.0.mar", "--home", home.path)
    with home.client() as client:
        deploy(client, second, workers=1)
    return home


def test_versions_are_changed_under_that_name(cats: "Home") -> None:
    assert json.loads((cats.store / "deployment.json").read_text())["model"] == "cats"
    with cats.client() as client:
        promote(client, "2.0")
        assert client.default_version() == "2.0"
        assert rollback(client) == "1.0"
        scale(client, "2.0", 2)
        scale(client, "2.0", 1)
        assert {v.version: v.workers for v in list_versions(client)}["2.0"] == 1


def test_photos_are_answered_under_that_name(
    cats: "Home", inside: FlyObj, photos: list[bytes], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photos[0])
    (told,) = json.loads(inside("predict", photo, "--home", cats.path, "--json").stdout)
    server = f"http://127.0.0.1:{cats.port}"
    with httpx.Client(base_url=server, headers=cats.headers(), timeout=60, trust_env=False) as http:
        plain = http.post("/predictions/cats/1.0", content=photos[0]).json()
        (as_v1,) = ask_v1(http, photos[0])
        assert http.post("/predictions/flying_objects", content=photos[0]).status_code == 404
    with open_target(server, cats.path) as target:
        (evaluated,) = target.answer([photos[0]])
    assert plain == as_v1 == evaluated
    assert told == {"photo": str(photo), **plain}


def ask_v1(http: httpx.Client, photo: bytes) -> list[Any]:
    """Ask as KServe's V1 protocol does."""
    body = {"instances": [{"b64": base64.b64encode(photo).decode()}]}
    answers: list[Any] = http.post("/v1/models/cats:predict", json=body).json()["predictions"]
    return answers


def test_canary_load_and_probe_follow_the_name(cats: "Home", inside: FlyObj, tmp_path: Path) -> None:
    home = ("--home", cats.path)
    inside("canary", "start", "2.0", "--proxy", tmp_path, *home)
    assert '"predictions/cats" $canary' in (tmp_path / "nginx.conf").read_text()
    inside("canary", "check", "--proxy", tmp_path)
    inside("loadtest", *home, "--", "--users", "1", "--run-time", "1s", "--tags", "predict")
    inside("status", "--ready", *home)
    assert json.loads(inside("status", "--json", *home).stdout)["model"] == "cats"


def test_a_second_name_in_the_store_is_refused(cats: "Home", archive_path: Path) -> None:
    remedy = r"holds 'flying_objects'; give it a store and a home of its own: `flyobj serve --detach"
    with cats.client() as client, pytest.raises(InputError, match=f"serves model 'cats', .*{remedy}"):
        deploy(client, archive_path)
    assert not (cats.store / archive_path.name).exists()


def test_the_name_outlives_the_server(cats: "Home", photos: list[bytes]) -> None:
    cats.restart()
    with cats.client() as client:
        assert client.predict(photos[0])["model_version"] == "1.0"
        retire(client, "2.0")
        assert [v.version for v in list_versions(client)] == ["1.0"]


@pytest.mark.parametrize("name", ["Cats", "1cat", "cat-1", "", "cats/../x", "cats\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"must be lower-case .*\[a-z\]\[a-z0-9_\]\*"):
        build_archive(tmp_path, "1.0", tmp_path, name=name)
