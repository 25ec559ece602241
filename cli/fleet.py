"""`flyobj models diff` and `apply`: one server, or several, brought to `deployment.json`."""

from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DEFAULT_TIMEOUT, DEFAULT_WAIT, Home, Json, Store, Timeout, Wait, connect, emit
from model.text import shell_quote
from report.terminal import new_table
from serving.names import DEFAULT_STORE

if TYPE_CHECKING:
    from serving.fleet.apply import Outcome
    from serving.fleet.inventory import FleetServer
    from serving.rollout.reconcile import Change

COLUMNS = "action", "version", "server", "deployment.json"

Servers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOME|URL[=KEY_FILE]",
        help="One of several servers, repeated for each: the home of one on this machine, or "
        "http://HOST:PORT of a remote one (management on the next port) with a copy of its tokens.",
    ),
]
ServersFile = Annotated[
    Path | None, typer.Option("--servers", help="JSON file of several servers; see docs/fleet.md.")
]
Proxy = Annotated[
    Path | None,
    typer.Option(help="nginx's folder: each server is taken out of the traffic while it is changed."),
]


def diff(
    home: Home = None,
    server: Servers = None,
    servers: ServersFile = None,
    model_store: Store = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Show what `apply` would change on the server, or on each of several."""
    from serving.fleet.apply import differences
    from serving.rollout.reconcile import diff

    if server or servers:
        _show_fleet(differences(_members(server, servers, model_store, drained=False)), as_json)
        return
    with connect(home) as client:
        _show(diff(client), as_json, "the server is as deployment.json says")


def apply(
    home: Home = None,
    server: Servers = None,
    servers: ServersFile = None,
    proxy: Proxy = None,
    model_store: Store = DEFAULT_STORE,
    timeout: Timeout = DEFAULT_TIMEOUT,
    wait: Wait = DEFAULT_WAIT,
    as_json: Json = False,
) -> None:
    """Change the server, or several in turn, to match model-store/deployment.json."""
    from model.errors import InputError
    from report.progress import say
    from serving.fleet import apply as fleet
    from serving.fleet.balancer import Balancer
    from serving.rollout import reconcile

    if not server and not servers:
        if proxy:
            raise InputError("--proxy is for several servers; name them with --server or --servers")
        with connect(home) as client:
            changes = reconcile.apply(client, timeout, wait)
        _show(changes, as_json, "nothing to do: the server is as deployment.json says")
        return
    members = _members(server, servers, model_store, drained=proxy is not None)
    balancer = Balancer(proxy, [m.upstream for m in members], timeout) if proxy else None
    try:
        outcomes = fleet.apply_to_fleet(members, model_store, balancer, timeout, wait)
    except fleet.FleetApplyFailed as error:
        _show_fleet(error.outcomes, as_json)
        raise
    _show_fleet(outcomes, as_json)
    if balancer and not balancer.runs:
        say(f"nginx isn't running; start it: nginx -p {shell_quote(Path(str(proxy)))} -c nginx.conf")


def _members(
    names: list[str] | None, file: Path | None, store: Path, drained: bool
) -> "list[FleetServer]":
    from model.errors import InputError
    from serving.fleet.inventory import parse_servers, read_inventory

    if names and file:
        raise InputError("give either --server, for each server, or --servers FILE")
    return read_inventory(file, store, drained) if file else parse_servers(names or [], store, drained)


def _show(changes: "Sequence[Change]", as_json: bool, same: str) -> None:
    table = new_table(*COLUMNS)
    for change in changes:
        table.add_row(*astuple(change))
    emit([asdict(change) for change in changes], as_json, table if changes else same)


def _show_fleet(outcomes: "Sequence[Outcome]", as_json: bool) -> None:
    table = new_table("of the fleet", "state", *COLUMNS)
    for outcome in outcomes:
        first: tuple[str, str] = outcome.server, outcome.state
        for change in outcome.changes or [None]:
            table.add_row(*first, *(astuple(change) if change else ()))
            first = "", ""
    emit([asdict(outcome) for outcome in outcomes], as_json, table)
