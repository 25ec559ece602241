"""Locust in a process of its own, as its manual says."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.archive import build as archive
from serving.stock import stock_file

LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
Ended = subprocess.CompletedProcess[str]


class Locust:
    """Locust against one server; `folder` has its tables."""

    def __init__(self, server: Any, folder: Path) -> None:
        self.host = f"http://127.0.0.1:{server.port}"
        self.key_file = server.path / "key_file.json"
        self.folder = folder

    def command(self, *words: object, **changed: object) -> list[str]:
        """Options given replace the defaults, None leaves one out."""
        options = {
            "locustfile": LOCUSTFILE,
            "host": self.host,
            "key-file": self.key_file,
            "users": 2,
            "run-time": "2s",
            "stop-timeout": 10,
            "csv": self.folder / "load",
        } | {name.replace("_", "-"): value for name, value in changed.items()}
        given = [word for name, v in options.items() if v is not None for word in (f"--{name}", v)]
        program = Path(sys.executable).with_name("locust")
        return [str(word) for word in (program, *given, *words)]

    def headless(self, *words: object, **changed: object) -> Ended:
        return subprocess.run(
            self.command("--headless", *words, **changed),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *words: object, **changed: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words, **changed),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def table(self, name: str = "stats") -> list[dict[str, str]]:
        with (self.folder / f"load_{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def requests(self, name: str = "Aggregated") -> int:
        return next((int(row["Request Count"]) for row in self.table() if row["Name"] == name), 0)

    def failures(self) -> int:
        return next(int(row["Failure Count"]) for row in self.table() if row["Name"] == "Aggregated")


@pytest.fixture
def locust(server: Any, tmp_path: Path) -> Locust:
    """Locust against the shared server: two users for 2 s, if nobody says otherwise."""
    return Locust(server, tmp_path)


@pytest.fixture
def slow_archive(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Build an archive whose handler takes longer for each batch, as any other is built."""

    def build(version: str, seconds: float) -> Path:
        root = tmp_path / "checkout"
        for package in ("model", "handler"):
            shutil.copytree(stock_file(package), root / package)
        handler = root / "handler" / "flyobj_handler.py"
        code, begin = handler.read_text(), "        started = time.perf_counter()\n"
        assert code.count(begin) == 1
        handler.write_text(code.replace(begin, f"{begin}        time.sleep({seconds})\n"))
        with monkeypatch.context() as patch:
            patch.setattr(archive, "stock_file", lambda name: root / name)
            return archive.build_archive(run, version, tmp_path / "slow", "openvino")

    return build
