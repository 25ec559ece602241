"""A full disk, or a place that can't be written, wherever a command writes: one line, nothing half."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cli

pytestmark = pytest.mark.slow

TRAIN = "--weights none --size 32 --epochs 2 --workers 0 --lr 0.01"
# Commands, and what each writes. {} is the folder of what an earlier version left, @ where to write.
COMMANDS = {
    "data synthesize @ --per-class 2": "folder",
    "data prepare {}/photos --out @ --copy": "folder",
    "data preview {}/photos --out @.png": "picture",
    f"train {{}}/photos --out @ {TRAIN}": "run",
    "archive {}/run --version 5.0 --engine torch --model-store @": "archive",
    "evaluate {}/run --data {}/photos --out @": "report",
    "loadtest --compare {}/capacity {}/other --out @": "comparison",
    "serve --detach --home @ --model-store {}/store": "home",
}


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let the system refuse every byte of a file over `size`, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Run a command that fails with one line; returns it.

    Python would write half of a module's bytecode, which breaks the next one that imports it.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")

    def run(command: str) -> str:
        monkeypatch.setattr(sys, "argv", ["flyobj", *command.split()])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr().err
        assert end.value.code in (1, 2), said
        assert said.count("error: ") == 1, said
        assert "Traceback" not in said, said
        return said

    return run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split(" --")[0][:40])
def test_a_full_disk_is_one_line(
    command: str,
    old: Path,
    tmp_path: Path,
    fails: Callable[[str], str],
) -> None:
    out = tmp_path / "place" / "new"
    out.parent.mkdir()
    with at_most(600):
        said = fails(command.replace("{}", str(old)).replace("@", str(out)))
    assert "(File too large)" in said
    assert f"'{out}" in said
    left = [path for path in out.parent.rglob("*") if path.is_file() and path.stat().st_size]
    whose = {"run": {"settings.json"}, "report": {"evaluation.json"}, "home": {"console.log"}}
    allowed = whose.get(COMMANDS[command], set())
    assert {path.name for path in left} <= allowed, left


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split(" --")[0][:40])
def test_a_place_that_cannot_be_written_is_one_line(
    command: str,
    old: Path,
    fails: Callable[[str], str],
) -> None:
    """Nobody may make a file there, not even root."""
    said = fails(command.replace("{}", str(old)).replace("@", "/sys/flyobj-test"))
    assert "'/sys/flyobj-test" in said
    assert "(Operation not permitted)" in said or "(Permission denied)" in said or "(Read-only" in said
