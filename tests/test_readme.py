"""What README.md and docs/ tell people to type exists."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from cli import help_page

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
COMMANDS = dict(help_page.commands())
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}


def read(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def blocks(text: str) -> Iterator[list[str]]:
    """Yield the words after each `flyobj` of the text's shell blocks."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            inner = re.findall(r"\$\((flyobj [^)]*)\)", line)  # inside quotes, so one word to the shell
            for command in [line, *inner]:
                values = re.sub(r"\$\w+", "1", command)
                lexer = shlex.shlex(values, posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                words = list(lexer)
                for at in (i for i, word in enumerate(words) if word == "flyobj"):
                    yield list(takewhile(lambda word: not set(word) <= set("();<>|&"), words[at + 1 :]))


def mentions(text: str) -> Iterator[list[str]]:
    """Yield the words after `flyobj` where prose and tables name a command."""
    for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S)):
        if inner := re.search(r"\$\(flyobj ([^)]*)\)", code) or re.match(r"flyobj (.*)", code):
            yield shlex.split(inner[1])


def complaint(words: list[str], complete: bool) -> str:
    """Parse a command as `flyobj` would, without running it; return what is wrong with it."""
    name = " ".join(words[: 2 if words[0] in GROUPS else 1])
    if name not in COMMANDS:
        return "" if name in GROUPS and not complete else f"no command {name!r}"
    words = words[len(name.split()) :]
    if words == ["--help"]:
        return ""
    try:
        COMMANDS[name].make_context(name, words)
    except Exception as error:
        if complete or type(error).__name__ == "NoSuchOption":  # prose leaves values out, `--workers`
            return getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(page: str) -> None:
    tried = [(words, True) for words in blocks(read(page))]
    tried += [(words, False) for words in mentions(read(page))]
    wrong = {" ".join(words): said for words, complete in tried if (said := complaint(words, complete))}
    assert not wrong


@pytest.mark.parametrize(
    "line",
    [
        "trian photos",
        "train photos --speed 3",
        "models promote",
        "models undo",
        "canary start 2.0 --percent P",
    ],
)
def test_a_wrong_line_is_found(line: str) -> None:
    (words,) = blocks(f"```sh\nfor x in 1; do flyobj {line}; done  # and so on\n```")
    assert words == line.split()
    assert complaint(words, complete=True)


def test_what_is_typed_is_found_wherever_it_stands() -> None:
    readme = {" ".join(words) for words in blocks(read("README.md"))}
    assert {"serve --detach", "token"} <= readme
    assert ["predict"] in mentions("Call `flyobj predict`.")
    assert complaint(["predict", "--version"], complete=False) == ""
    assert "--speed" in complaint(["predict", "--speed", "3"], complete=False)
    assert ["token"] in mentions('With `-H "Bearer $(flyobj token)"`.')


def test_the_help_page_is_current() -> None:
    assert read("docs/help.md") == help_page.render(), "python -m cli.help_page"


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test", "lint", "help"} <= targets
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", read(page), re.M)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_is_run_exists(page: str) -> None:
    modules = set(re.findall(r"python -m ((?:benchmarks|cli)[\w.]*)", read(page)))
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_linked_file_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", read(page))
    assert [link for link in links if not (PAGES[page].parent / link).exists()] == []
