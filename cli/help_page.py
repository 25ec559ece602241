"""docs/help.md, every command and its options, made from the commands themselves.

python -m cli.help_page         # write it again, in the checkout's root
"""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import cli

PAGE = Path("docs/help.md")
_HEAD = """# Every command

Generated from the commands by `python -m cli.help_page`. What follows an option is its default, `...`
where there is none.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield what is typed for each command ("models deploy") and the command."""
    todo: list[tuple[str, Any]] = [("", typer.main.get_command(cli.app))]
    while todo:
        typed, command = todo.pop()
        inner = getattr(command, "commands", {})
        todo += reversed([(f"{typed} {name}".lstrip(), inner[name]) for name in inner])
        if not inner and not command.hidden:
            yield typed, command


def render() -> str:
    """Write the whole page as Markdown."""
    return "\n".join([_HEAD, *(_section(typed, command) for typed, command in commands())])


def _section(typed: str, command: Any) -> str:
    shown = [p for p in command.params if not p.hidden]
    arguments = [_argument(p) for p in shown if p.param_type_name == "argument"]
    lines = [f"- {_typed(p)}: {p.help}" for p in shown]
    usage = " ".join(["flyobj", typed, *arguments])
    return "\n".join([f"## {usage}", "", command.help, "", *lines, ""])


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _typed(param: Any) -> str:
    """Return an argument's name, or an option as it is typed, with its default."""
    if param.param_type_name == "argument":
        return f"`{_argument(param)}`"
    text = "/".join([*param.opts, *param.secondary_opts])
    if not param.is_flag:
        value = "..." if param.default in (None, ()) else shlex.quote(str(param.default))
        text += f" {param.metavar or value}"
    return f"`{text}` (required)" if param.required else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
