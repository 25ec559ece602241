"""What each command says of itself, and of words it does not know."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import cli
from cli import help_page
from model.preprocessing import MAX_SIZE, MIN_SIZE

FlyObj = Callable[..., subprocess.CompletedProcess[str]]


def names_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from names_of(inner, (*path, name))


COMMANDS = list(names_of(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "flyobj")
def test_help(inside: FlyObj, command: tuple[str, ...]) -> None:
    result = inside(*command, "--help")
    assert result.stderr == ""
    usage = next(line for line in result.stdout.splitlines() if "Usage: " in line)
    assert " ".join(command) in usage
    said = [line for line in result.stdout.splitlines() if line.startswith(" ") and line.strip()]
    assert len(said) > 1  # the usage and what it does
    assert "<bool>" not in result.stdout  # a flag takes no value


def test_the_command_itself(flyobj: FlyObj) -> None:
    assert "Usage: flyobj [OPTIONS] COMMAND" in flyobj("--help").stdout


def test_the_version_is_said(inside: FlyObj) -> None:
    assert inside("--version").stdout.startswith("flying-objects 0.1.0, torchserve 0.12")


def test_a_shell_completes_commands(flyobj: FlyObj, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FLYOBJ_COMPLETE": "complete_bash", "COMP_WORDS": "flyobj models sh"}.items():
        monkeypatch.setenv(name if name[0] == "C" else f"_{name}", value)
    monkeypatch.setenv("COMP_CWORD", "2")
    assert flyobj().stdout.split() == ["show", "shadow"]


@pytest.mark.parametrize(
    ("typed", "better"),
    [
        (("--users", "4"), "flyobj loadtest -- --users 4"),
        (("--home", "a b", "-u", "4"), "flyobj loadtest --home 'a b' -- -u 4"),
        (("photos", "--json", "--", "-t", "5s"), "flyobj loadtest --json -- photos -t 5s"),
    ],
)
def test_what_is_for_locust_leads_to_the_dashes(
    inside: FlyObj, typed: tuple[str, ...], better: str
) -> None:
    assert f"what is for Locust follows --: `{better}`" in inside("loadtest", *typed, code=2).stderr


def test_all_the_commands_are_there() -> None:
    assert {("train",), ("serve",), ("data", "synthesize"), ("models", "deploy")} <= set(COMMANDS)


def test_help_says_which_sizes_are_allowed() -> None:
    sizes = [line for line in help_page.render().splitlines() if line.startswith("- `--size ")]
    assert len(sizes) == 4
    assert all(line.endswith(f"{MIN_SIZE} to {MAX_SIZE} pixels.") for line in sizes)


def test_help_does_not_wait_for_pytorch() -> None:
    script = "import sys, cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"torch", "cv2", "lightning_fabric", "albumentations", "httpx", "ts"} & set(loaded)


@pytest.mark.parametrize("bad", [("train", "--size", "big"), ("nonsense",), ("serve", "--port", "many")])
def test_wrong_usage(flyobj: FlyObj, bad: tuple[str, ...]) -> None:
    result = flyobj(*bad, code=2)
    assert result.stdout == ""
    assert "Usage: flyobj" in result.stderr


def test_a_folder_that_was_removed_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    start = f"cd {gone} && rmdir {gone} && exec {Path(sys.executable).with_name('flyobj')} models list"
    ended = subprocess.run(["sh", "-c", start], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "error: the folder that you are in was removed; go to one that exists\n"
