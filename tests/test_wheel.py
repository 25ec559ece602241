"""The wheel, installed outside of the checkout: it holds all that the product needs, and works."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model.errors import InputError
from training.fit.tracking import Tracker

if TYPE_CHECKING:
    from tests.conftest import MakeHome

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("cli", "deploy/aws_lambda", "deploy/nginx", "handler", "loadtest", "model", "report")
PACKAGES += ("serving", "training")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

Execute = Callable[..., "subprocess.CompletedProcess[str]"]


def build(checkout: Path, out: Path) -> Path:
    """Build the wheel of a checkout, with what is installed here."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(checkout)], check=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def contents(wheel: Path) -> set[str]:
    """Name the wheel's files, but those that describe it."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Execute:
    """Run a program of an environment that holds the wheel and sees our packages, but no checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    programs, ours = folder / "bin", Path(sys.executable).parent
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(programs / "python"), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    there = next(folder.glob("lib/*/site-packages"))
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if (
            path.suffix != ".pth"
            and "flying_objects" not in path.name
            and not (there / path.name).exists()
        ):
            (there / path.name).symlink_to(path)
    (programs / "torch-model-archiver").symlink_to(ours / "torch-model-archiver")
    empty = tmp_path_factory.mktemp("empty")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def execute(program: str, *args: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
        command = [str(programs / program), *map(str, args)]
        ended = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert ended.returncode == code, f"{command}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended

    return execute


def test_it_holds_the_product_and_nothing_else(wheel: Path) -> None:
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"handler/model-config.yaml", "deploy/nginx/nginx.conf", "serving/page/page.css"} <= wanted
    wanted |= {f"serving/stock_files/{name}" for name in ("config.properties", "locust.conf")}
    assert contents(wheel) == wanted


def test_the_checkout_is_out_of_sight(installed: Execute) -> None:
    script = "import cli, importlib.util as i; print(cli.__file__, i.find_spec('benchmarks'))"
    path, found = installed("python", "-c", script).stdout.split()
    assert not Path(path).is_relative_to(ROOT)
    assert found == "None"


def test_it_serves(installed: Execute, run: Path, dataset: Path, new_home: "MakeHome") -> None:
    home = new_home("wheel")
    installed("flyobj", "data", "synthesize", "photos", "--per-class", 4)
    installed("flyobj", "archive", run, "--version", "1.0", "--engine", "torch")
    here = ("--home", home.path)
    installed("flyobj", "serve", "--detach", *here, "--port", home.port)
    installed("flyobj", "models", "deploy", "model-store/flying_objects-1.0.mar", *here)
    installed("flyobj", "models", "scale", "1.0", 1, *here)
    said = installed("flyobj", "canary", "start", "1.0", "--proxy", home.path / "proxy", *here).stdout
    assert "canary.conf is written" in said
    assert f"127.0.0.1:{home.port}" in (home.path / "proxy" / "servers.conf").read_text()
    load = ("--", "--users", 1, "--run-time", "1s")
    loaded = installed("flyobj", "loadtest", "--photos", dataset / "test", *here, *load)
    assert re.search(r"Aggregated +[1-9]\d* +0\(0", loaded.stdout + loaded.stderr)
    installed("flyobj", "stop", *here)


@pytest.mark.parametrize(
    ("library", "extra", "command"),
    [
        ("boto3", "s3", ["push", "ARCHIVE", "s3://bucket/"]),
        ("gradio", "page", ["page", "--port", "PORT", "--home", "nowhere"]),
    ],
)
def test_without_an_extra_it_names_the_library(
    installed: Execute, archive_path: Path, free_port: int, library: str, extra: str, command: list[str]
) -> None:
    assert [re.split(r"[<>=]", wanted)[0] for wanted in EXTRAS[extra]] == [library]
    words = {"ARCHIVE": str(archive_path), "PORT": str(free_port)}
    typed = ["flyobj", *(words.get(word, word) for word in command)]
    script = f"import sys; sys.modules[{library!r}] = None; sys.argv = {typed}; import cli; cli.main()"
    said = installed("python", "-c", script, code=2).stderr
    assert re.search(rf"error: .+ needs {library} \(.+\): pip install {library}\n$", said)


def test_without_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"^logger 'wandb' needs wandb \(.+\): pip install wandb$"):
        Tracker(tmp_path, "wandb", {})
