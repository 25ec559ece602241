"""`flyobj compare` on runs and archives; `tests/serving/rollout` has it with a server."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from model.bundle import read_bundle
from model.predictor import Predictor

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Complaint = Callable[[subprocess.CompletedProcess[str]], str]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def known(run: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos whose labels are what the run answers, so that it's right about each."""
    data = tmp_path_factory.mktemp("known")
    predictor = Predictor(read_bundle(run / "bundle"))
    for number, photo in enumerate(sorted(dataset.rglob("*.jpg"))):
        (row,) = predictor.predict([predictor.prepare(photo.read_bytes())])
        folder = data / "test" / predictor.classes[row.argmax()]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / f"clip{number // 2}_f{number % 2}.jpg")
    return data


@pytest.fixture
def turned(run_copy: Path) -> Path:
    """The run with a head that prefers what it preferred least."""
    path = run_copy / "bundle" / "weights.safetensors"
    weights = load_file(path)
    head = [name for name in weights if len(weights[name].shape) == 2][-1]
    save_file({**weights, head: -weights[head]}, path)
    return run_copy


def test_a_worse_run(
    inside: FlyObj, complaint: Complaint, turned: Path, archive_path: Path, known: Path
) -> None:
    command = ("compare", turned, archive_path, "--data", known, "--group-regex", r"^(.+)_f\d")
    result = inside(*command, code=1)
    assert complaint(result).startswith("run is worse than flying_objects-1.0")
    assert "photos gained" in result.stdout
    assert (turned / "comparison" / "comparison.html").is_file()  # the page is there all the same
    found = json.loads((turned / "comparison" / "comparison.json").read_text())
    assert found["comparison"]["all"]["lost"] == len(found["flips"]) > 20
    assert found["comparison"]["groups"] == r"20 groups by ^(.+)_f\d"
    better = inside("compare", archive_path, turned, "--data", known)
    assert "flying_objects-1.0 is better than run" in better.stdout
    assert "look at" not in better.stdout  # for an archive only with --out


def test_the_page(inside: FlyObj, turned: Path, archive_path: Path, known: Path, tmp_path: Path) -> None:
    out = tmp_path / "page"
    command = ("compare", archive_path, turned, "--data", known, "--out", out)
    inside(*command)
    page = (out / "comparison.html").read_text()
    flips = json.loads((out / "comparison.json").read_text())["flips"]
    assert page.count('src="data:image/jpeg;base64,') == len(flips)
    assert "flying_objects-1.0 is better than run" in page
    inside(*command, code=2)
    again = json.loads(inside(*command, "--force", "--json").stdout)
    assert again == json.loads((out / "comparison.json").read_text())


def test_the_same_model(
    inside: FlyObj, run: Path, archive_path: Path, dataset: Path, tmp_path: Path
) -> None:
    """Eight photos are enough where every answer is the same."""
    said = inside("compare", archive_path, run, "--data", dataset, "--out", tmp_path / "page").stdout
    assert "flying_objects-1.0 gives the same answers as run" in said


def test_too_few_groups_to_tell(
    inside: FlyObj, complaint: Complaint, turned: Path, archive_path: Path, known: Path
) -> None:
    """However many photos they have, and however large the difference."""
    groups = ("--group-regex", "(clip)")
    said = complaint(inside("compare", turned, archive_path, "--data", known, *groups, code=1))
    assert said.startswith("these 40 photos can't tell whether run is better than flying_objects-1.0; ")
    assert said.endswith("all are of one group, so photos of other groups are needed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "nowhere"), "'nowhere' doesn't exist"),
        (("RUN", "RUN", "--split", "none"), "has train, test photos, no none ones"),
        (("RUN", "RUN", "--margin", "1.5"), "margin 1.5 must be from 0"),
        (("RUN", "2.0", "--home", "nowhere"), "start one with `flyobj serve --detach"),
    ],
)
def test_wrong_input(
    inside: FlyObj,
    complaint: Complaint,
    run_copy: Path,
    dataset: Path,
    words: tuple[str, ...],
    message: str,
) -> None:
    words = tuple(str(run_copy) if word == "RUN" else word for word in words)
    assert message in complaint(inside("compare", *words, "--data", dataset, code=2))


def test_classes_that_neither_knows(
    inside: FlyObj, complaint: Complaint, run_copy: Path, dataset: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(dataset, tmp_path / "more")
    (data / "test" / "Flying Birds").rename(data / "test" / "Bats")
    result = inside("compare", run_copy, run_copy, "--data", data, code=2)
    assert "classes ['Bats'] of the photos are known to neither" in complaint(result)


def test_models_beside_it_and_the_cheapest_that_isnt_worse(
    inside: FlyObj, run: Path, turned: Path, archive_path: Path, known: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page"
    command = (
        "compare",
        archive_path,
        run,
        "--beside",
        turned,
        "--costs",
        "--data",
        known,
        "--out",
        out,
    )
    text = inside(*command).stdout
    assert f"no cheaper model is shown to be as good as {run}" in text.replace("\n", "")
    found = json.loads((out / "comparison.json").read_text())
    old, same, worse = found["models"]
    assert [row["name"] for row in found["models"]] == [str(run), str(archive_path), str(turned)]
    assert (old["precision"], old["pixels"], old["accuracy"]) == ("f32", 64, 1)
    assert old["accuracy_95"][0] < old["accuracy_95"][1] == 1
    assert old["comparison"] is same["cost"] is None  # what an archive costs isn't measured
    assert same["comparison"]["verdict"] == "not worse"
    assert worse["comparison"]["verdict"] == "worse"
    assert min(old["cost"]["cpu_ms"], worse["cost"]["cpu_ms"]) > 0
    assert old["cost"]["mib"] == pytest.approx(worse["cost"]["mib"], rel=0.01)
    page = (out / "comparison.html").read_text()
    assert f"No cheaper model is shown to be as good as {run}." in page
