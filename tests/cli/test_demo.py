"""`flyobj demo`, small: a real training, a real TorchServe, a real Locust."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.server import lifecycle

pytestmark = pytest.mark.slow

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
CLASSES = ["Flying Birds", "Large QuadCopters", "Small QuadCopters", "Winged Drones"]


@pytest.mark.usefixtures("torchserve")
@pytest.mark.timeout(1200)
def test_does_the_main_job_and_shows_it(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    options = ["--per-class", "24", "--epochs", "2", "--size", "64", "--json", "--out"]
    start = "import cli, cli.demo_steps; cli.demo_steps.LOAD_S = 4; cli.main()"  # of 20 s
    command = [sys.executable, "-c", start, "demo", *options, str(out)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=1100, check=True)

    summary = json.loads((out / "summary.json").read_text())
    assert json.loads(ended.stdout) == summary
    assert [Path(a).name for a in summary["archives"]] == [
        "flying_objects-1.0.mar",
        "flying_objects-2.0.mar",
    ]
    assert all(Path(a).is_file() for a in summary["archives"])
    deployment = json.loads((out / "model-store" / "deployment.json").read_text())
    assert set(deployment["versions"]) == {"1.0", "2.0"}
    assert deployment["default"] == summary["default_version"] == "2.0"
    answers = [(p["truth"], p["predicted"]) for p in summary["predictions"]]
    assert [Path(p["photo"]).parent.name for p in summary["predictions"]] == CLASSES
    assert [truth for truth, _ in answers] == CLASSES
    assert summary["loadtest"]["failures"] == 0
    assert summary["loadtest"]["requests"] > 20
    # The four single photos, and those sent at once.
    assert sum(int(size) * count for size, count in summary["batch_sizes"].items()) >= 64 + 4
    assert lifecycle.find(out / "server") is None

    page = (out / "report.html").read_text()
    assert page.count("<img ") == page.count('src="data:image/jpeg') == 4 + 4 * 6  # all that there are
    mistakes = json.loads((out / "run" / "evaluation" / "evaluation.json").read_text())["mistakes"]
    assert page.count("✗") == len(mistakes) + sum(truth != answer for truth, answer in answers)
    assert page.count("✓") + page.count("✗") == 4 + 4 * 6


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, inside: FlyObj) -> None:
    (tmp_path / "thesis.tex").touch()
    photo = tmp_path / "data" / "photo.jpg"
    photo.parent.mkdir()
    photo.touch()
    assert "'thesis.tex', which no demo made" in inside("demo", "--out", tmp_path, code=2).stderr
    assert photo.exists()


def test_given_photos_are_kept_even_within_its_folder(tmp_path: Path, inside: FlyObj) -> None:
    photo = tmp_path / "demo" / "data" / "train" / "bird" / "photo.jpg"
    photo.parent.mkdir(parents=True)
    photo.touch()
    ended = inside("demo", "--data", tmp_path / "demo" / "data", "--out", tmp_path / "demo", code=2)
    assert "`flyobj train` ended with exit code 2 (see above)" in ended.stderr
    assert photo.exists()
