"""What the README tells people to type exists."""

import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S))


def test_every_flyobj_command_exists(flyobj: Callable[..., object]) -> None:
    commands = set(re.findall(r"flyobj ((?:(?:data|models|canary) )?[a-z]+)", SHELL))
    assert {"train", "archive", "serve", "models deploy", "predict", "token"} <= commands
    for command in commands:
        flyobj(*command.split(), "--help")


def test_every_option_exists(flyobj: Callable[..., object]) -> None:
    for command, options in re.findall(r"flyobj ((?:(?:data|models|canary) )?[a-z]+)([^#\n)]*)", SHELL):
        text = str(getattr(flyobj(*command.split(), "--help"), "stdout", ""))
        for option in re.findall(r"--[a-z-]+", options):
            assert option in text, f"flyobj {command} has no {option}"


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|\n)make ([a-z]+)", README))
    assert {"demo", "test", "lint", "help"} <= named <= targets


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert "docs/experiments.md" in links
    assert all((ROOT / link).exists() for link in links)
