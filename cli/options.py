"""What the commands share: options, the server that is meant, and how results are printed."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from report.terminal import Table, out

if TYPE_CHECKING:
    from serving.server.client import Client
    from serving.server.lifecycle import Server

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_WAIT, DEFAULT_TIMEOUT = 60.0, 30.0

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Home = Annotated[
    Path | None,
    typer.Option(
        envvar="FLYOBJ_HOME",
        show_default=False,
        help="Folder of the server's pid, tokens and logs; by default runs/server, or that of the only "
        "server that runs.",
    ),
]
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
Weights = Annotated[
    str, typer.Option(help="imagenet (downloads once), none, or a mobilenet_v2 state dict.")
]
GroupRegex = Annotated[
    str | None,
    typer.Option(
        help=r"Files in whose names it matches the same text stay together: '^(.+)_f\d+'; '' for no "
        "groups. By default names and times tell."
    ),
]
Size = Annotated[int, typer.Option(help="Side of the network's input, 32 to 1024 pixels.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for another operation to end.")]
Timeout = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait until no request waits for an answer.")
]

_UNUSUAL = re.compile(r"[^\x20-\x7e\n]")


def connect(home: Path | None) -> "Client":
    """Connect to the server that is meant (`choose_home`); raises `InputError` if it doesn't run."""
    from serving.server.client import Client

    return Client(require_server(home))


def require_server(home: Path | None) -> "Server":
    """Find the server that is meant (`choose_home`); raises `InputError` if it doesn't run."""
    from serving.server.lifecycle import require

    return require(choose_home(home))


def choose_home(home: Path | None) -> Path:
    """Return the home that was named, or else `runs/server` here, or that of the only server that runs.

    One that was killed here still has its `server.json`; it is meant then, and nobody else's server.

    Raises:
        InputError: several run, and none is named.
    """
    from model.errors import InputError
    from model.text import shell_quote, shorten
    from report.progress import say
    from serving.server import homes
    from serving.server.lifecycle import list_running

    own = homes.default_home()
    if home is not None or (own / "server.json").exists() or not (servers := list_running()):
        return home or own
    if len(servers) > 1:
        for server in servers:
            say(_typed_again("--home", shorten(server.home)))
        raise InputError(f"{len(servers)} servers run; say which one is meant, by one of these commands")
    (server,) = servers
    say(f"with home {shell_quote(shorten(server.home))}, the only server that runs")
    return Path(server.home)


def _typed_again(*more: str | Path) -> str:
    """Write the command that was typed, with more options."""
    from model.text import shell_quote

    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    typed = [*words[:end], *map(str, more), *words[end:]]
    # `shell_quote` takes what begins with a dash for a file.
    return " ".join(["flyobj", *(shlex.quote(w) if w[:1] == "-" else shell_quote(w) for w in typed)])


def emit(document: Any, as_json: bool, *human: Any) -> None:
    """Print `document` as JSON, or the parts meant for people."""
    if as_json:
        ascii_only = (sys.stdout.encoding or "utf-8").lower() != "utf-8"
        text = json.dumps(document, indent=2, ensure_ascii=ascii_only)
        print(_UNUSUAL.sub(_escape, text), flush=True)
        return
    shown = [part for part in human if not (isinstance(part, Table) and not part.row_count)]
    for part in shown or ["nothing to list"]:
        out.print(part, soft_wrap=not isinstance(part, Table))


def _escape(character: re.Match[str]) -> str:
    """Escape, as JSON does, what isn't shown or isn't UTF-8: JSON leaves all but C0 as it is."""
    return character[0] if character[0].isprintable() else json.dumps(character[0])[1:-1]


class Command(TyperCommand):
    """A command whose help shows a value after an option that takes one, and none after a flag."""

    def get_params(self, ctx: Any) -> list[Any]:
        """List its parameters, `--help` too."""
        return without_flag_types(super().get_params(ctx))


class Group(TyperGroup):
    """Commands, with help as `Command` has it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """List its parameters, `--help` too."""
        return without_flag_types(super().get_params(ctx))


class App(typer.Typer):
    """Some commands, each a `Command` unless it says otherwise."""

    def __init__(self, **options: Any) -> None:
        """Take typer's options."""
        super().__init__(**{"cls": Group, **options})

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **options: Any
    ) -> Callable[[Function], Function]:
        """Take a function as a command."""
        return super().command(name, cls=cls, **options)


def without_flag_types(params: list[Any]) -> list[Any]:
    """Keep help from writing `<bool>` after flags."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def renaming(options: Mapping[str, str]) -> type[Command]:
    """Make the class of a command that still takes options under their old names; help has the new."""

    class Renaming(Command):
        def parse_args(self, context: Any, args: list[str]) -> list[str]:
            split = [(word, *word.partition("=")) for word in args]
            return super().parse_args(
                context, [options[n] + sep + v if n in options else word for word, n, sep, v in split]
            )

    return Renaming
