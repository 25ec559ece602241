"""`flyobj` called in the tests' own process."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli

FlyObj = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def inside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> FlyObj:
    """Run `flyobj` in this process, which has PyTorch loaded already: ten times as fast."""

    def run(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = ["flyobj", *map(str, args)]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        result = subprocess.CompletedProcess(command, end.value.code or 0, said.out, said.err)
        assert result.returncode == code, result
        return result

    return run


@pytest.fixture(scope="session")
def complaint() -> Callable[[subprocess.CompletedProcess[str]], str]:
    """Find the one line that says what is wrong; it is the last one."""

    def find(result: subprocess.CompletedProcess[str]) -> str:
        lines = result.stderr.strip().splitlines()
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        return lines[-1].removeprefix("error: ")

    return find
