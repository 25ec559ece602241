"""What the commands share: options, and how results are printed."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from report.terminal import Table, out

if TYPE_CHECKING:
    from serving.server.client import Client

DEFAULT_WAIT, DEFAULT_TIMEOUT = 60.0, 30.0

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Home = Annotated[Path, typer.Option(help="Folder of the server's pid, tokens and logs.")]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Ask this server, with the key FLYOBJ_TOKEN; https trusts public authorities, or those in "
        "the file FLYOBJ_CA_FILE.",
    ),
]
Store = Annotated[Path, typer.Option(help="Folder of the archives.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for another operation to end.")]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait until no request waits for an answer.")
]

_UNUSUAL = re.compile(r"[^\x20-\x7e\n]")


def connect(home: Path) -> "Client":
    """Connect to the server that runs with this home; raises `InputError` if none does."""
    from serving.server.client import Client
    from serving.server.lifecycle import require

    return Client(require(home))


def emit(document: Any, as_json: bool, *human: Any) -> None:
    """Print `document` as JSON, or the parts meant for people."""
    if as_json:
        ascii_only = (sys.stdout.encoding or "utf-8").lower() != "utf-8"
        text = json.dumps(document, indent=2, ensure_ascii=ascii_only)
        print(_UNUSUAL.sub(_escape, text), flush=True)
        return
    for part in human:
        out.print(part, soft_wrap=not isinstance(part, Table))


def _escape(character: re.Match[str]) -> str:
    """Escape, as JSON does, what isn't shown or isn't UTF-8: JSON leaves all but C0 as it is."""
    return character[0] if character[0].isprintable() else json.dumps(character[0])[1:-1]


def renaming(options: Mapping[str, str]) -> type[TyperCommand]:
    """Make the class of a command that still takes options under their old names; help has the new."""

    class Command(TyperCommand):
        def parse_args(self, context: Any, args: list[str]) -> list[str]:
            split = [(word, *word.partition("=")) for word in args]
            return super().parse_args(
                context, [options[n] + sep + v if n in options else word for word, n, sep, v in split]
            )

    return Command
