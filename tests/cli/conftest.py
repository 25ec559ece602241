"""What `flyobj` complains of, and files of an earlier version."""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.fleet.balancer import Balancer
from serving.stock import stock_file


@pytest.fixture(scope="session")
def complaint() -> Callable[[subprocess.CompletedProcess[str]], str]:
    """Find the one line that says what is wrong; it is the last one."""

    def find(result: subprocess.CompletedProcess[str]) -> str:
        lines = result.stderr.strip().splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        return lines[-1].removeprefix("error: ")

    return find


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of an earlier version left, and what is missing in that."""
    old = tmp_path_factory.mktemp("pristine") / "old"
    with tarfile.open(Path(__file__).parents[1] / "old_files.tar.xz") as files:
        files.extractall(old, filter="data")
    shutil.copytree(old / "capacity", old / "other")
    (old / "home").mkdir()
    (old / "server.json").rename(old / "home" / "server.json")
    shutil.copyfile(old / "stopped" / "checkpoints" / "last.ckpt", old / "weights.pth")
    shutil.copyfile(stock_file("handler/model-config.yaml"), old / "model-config.yaml")
    shutil.copyfile(stock_file("config.properties"), old / "config.properties")
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    token = {"key": "k", "expiration time": later}
    keys = {"management": token, "inference": token, "API": {"key": "k"}}
    (old / "key_file.json").write_text(json.dumps(keys))
    servers = [{"url": "http://127.0.0.1:1"}, {"url": "http://127.0.0.1:3", "upstream": "127.0.0.1:2"}]
    (old / "fleet.json").write_text(json.dumps({"servers": servers}))
    entry = {"time": "t", "operation": "deploy", "version": "1.0", "outcome": "done", "who": "me"}
    (old / "store" / "deployment-history.jsonl").write_text(json.dumps(entry) + "\n")
    (old / "proxy" / "logs").mkdir(parents=True)
    line = {"time": 9e9, "canary": "", "status": 200, "seconds": 0.1}
    (old / "proxy" / "logs" / "canary.log").write_text(json.dumps(line) + "\n")
    (old / "proxy" / "nginx.conf").write_text(stock_file("deploy/nginx/nginx.conf").read_text())
    Balancer(old / "proxy", ["127.0.0.1:1", "127.0.0.1:2"], 1)
    return old


@pytest.fixture
def old(pristine: Path, tmp_path: Path) -> Path:
    """A copy to damage, with a shard of its photos."""
    old = shutil.copytree(pristine, tmp_path / "old")
    for path in old.rglob("*.json"):
        path.write_text(path.read_text().replace("@FOLDER@", str(old)))
    return old
