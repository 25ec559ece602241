"""Real Locust against a real TorchServe, as its manual says."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
Locust = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def locust(server: Any, dataset: Path, tmp_path: Path) -> Locust:
    """Run Locust headless for 3 s; options given replace the defaults."""

    def run(**changed: object) -> subprocess.CompletedProcess[str]:
        options = {
            "host": server.url().removesuffix("/predictions/flying_objects"),
            "photos": dataset / "test",
            "key-file": server.path / "key_file.json",
            "users": 2,
            "run-time": "3s",
            "csv": tmp_path / "load",
        } | {name.replace("_", "-"): value for name, value in changed.items()}
        command = [Path(sys.executable).with_name("locust"), "-f", LOCUSTFILE, "--headless"]
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return subprocess.run(
            [str(word) for word in (*command, *words)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def totals(tmp_path: Path) -> dict[str, str]:
    with (tmp_path / "load_stats.csv").open(newline="") as file:
        return next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")


def test_every_answer_is_checked_and_right(locust: Locust, tmp_path: Path) -> None:
    ended = locust()
    assert ended.returncode == 0, ended.stderr
    assert int(totals(tmp_path)["Request Count"]) > 0
    assert int(totals(tmp_path)["Failure Count"]) == 0


def test_wrong_answers_fail_the_run(locust: Locust, tmp_path: Path, photos: list[bytes]) -> None:
    folder = tmp_path / "other" / "Weather Balloons"  # a class that the model doesn't know
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(photos[0])
    ended = locust(photos=folder.parent)
    assert ended.returncode == 1
    assert totals(tmp_path)["Failure Count"] == totals(tmp_path)["Request Count"] != "0"
    assert "instead of ['Weather Balloons']" in ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"photos": "nowhere"}, "no photos under 'nowhere'"),
        ({"key_file": "nowhere.json"}, "no token in 'nowhere.json'"),
    ],
)
def test_what_is_missing_is_said(locust: Locust, changed: dict[str, str], message: str) -> None:
    ended = locust(**changed)
    assert ended.returncode == 2
    assert message in ended.stdout + ended.stderr
