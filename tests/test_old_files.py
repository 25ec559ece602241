"""Files that the product wrote on 2026-11-25, before its modules moved, are still read.

`old_files.tar.xz` holds what that day's commands left: two runs, one of them killed after its first
epoch, an archive and its deployment, a prepared data set, a capacity. To be small, the networks' weights
were rounded, most of them set to zero, and the golden photos answered again by that day's code.
`@FOLDER@` stands for the folder that the commands ran in.
"""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serving.rollout.deployment import read_deployment
from serving.server import lifecycle
from tests.conftest import FlyObj
from tests.helpers.servers import Home
from training.evaluation.history import read_history

pytestmark = pytest.mark.slow


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder, as it stood then."""
    folder = tmp_path / "old"
    with tarfile.open(Path(__file__).with_name("old_files.tar.xz")) as files:
        files.extractall(folder, filter="data")
    for path in folder.rglob("*.json"):
        path.write_text(path.read_text().replace("@FOLDER@", str(folder)))
    return folder


def test_a_killed_run_is_resumed(old: Path, inside: FlyObj) -> None:
    stopped = old / "stopped"
    settings = json.loads((stopped / "settings.json").read_text())
    settings["settings"]["epochs"] = 2
    (stopped / "settings.json").write_text(json.dumps(settings))
    inside("train", "--resume", stopped)
    written = json.loads((stopped / "run.json").read_text())
    assert written["stages"][0]["stage"]["name"] == "head"
    assert (stopped / "bundle" / "model.json").is_file()


def test_a_run_is_evaluated_and_its_training_shown(old: Path, inside: FlyObj) -> None:
    inside("evaluate", old / "run", "--data", old / "photos", "--out", old / "again")
    answers = json.loads((old / "answers.json").read_text())
    right = [answer["predicted"] == Path(answer["photo"]).parent.name for answer in answers]
    evaluation = json.loads((old / "again" / "evaluation.json").read_text())
    assert evaluation["accuracy"] == sum(right) / len(right) < 1
    history = read_history(old / "run")
    assert history is not None
    assert [(s.name, s.facts["lr"]) for s in history.stages] == [("head", 0.001), ("whole", 0.001)]


def test_an_archive_is_served_as_it_was_deployed(
    old: Path, flyobj: FlyObj, new_home: Callable[[str], Home]
) -> None:
    home = new_home("old")
    home.store = old / "store"
    options = ("--model-store", home.store, "--home", home.path, "--port", home.port)
    flyobj("serve", "--detach", *options)
    for answer in json.loads((old / "answers.json").read_text()):
        photo = Path(answer.pop("photo"))
        said = httpx.post(home.url(), content=photo.read_bytes(), headers=home.headers()).json()
        assert list(said) == list(answer)
        assert said["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-6)
        assert (said["predicted"], said["model_version"]) == (answer["predicted"], "1.0")
    assert read_deployment(home.store).model == "flying_objects"
    flyobj("models", "scale", "1.0", 1, "--home", home.path)


def test_a_server_that_ended_long_ago_is_not_found(old: Path) -> None:
    home = old / "home"
    home.mkdir()
    (old / "server.json").rename(home / "server.json")
    assert lifecycle.find(home) is None


def test_a_prepared_data_set_is_reported_and_trained_on(old: Path, inside: FlyObj) -> None:
    inside("data", "report", old / "prepared")
    assert "Flying Birds" in (old / "prepared" / "report.html").read_text()
    options = ("--weights", "none", "--size", 32, "--epochs", 1, "--workers", 0, "--rate", 0.001)
    inside("train", old / "prepared", "--out", old / "new", *options, "--target", 0.01)


def test_a_capacity_is_compared(old: Path, inside: FlyObj) -> None:
    capacity = old / "capacity"
    other = shutil.copytree(capacity, old / "other")
    said = inside("loadtest", "--compare", capacity, other, "--json")
    assert json.loads(said.stdout)["ratio"] == 1
