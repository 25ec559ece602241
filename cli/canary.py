"""`flyobj canary`: a share of the traffic for another version, through nginx."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.options import App, Home, Json, emit, require_server
from model.text import shell_quote
from report.terminal import new_table, out
from serving.names import DEFAULT_PROXY_PORT

app = App(no_args_is_help=True, help="Send a share of the traffic to another version, through nginx.")

DEFAULT_PROXY = Path("runs/proxy")
_WATCH_S = 5
Proxy = Annotated[Path, typer.Option(help="nginx's folder: its configuration, pid and logs.")]


@app.command()
def start(
    version: Annotated[str, typer.Argument(help="A deployed version.")],
    percent: Annotated[float, typer.Option(help="Share of the requests that name no version.")] = 5,
    listen: Annotated[
        int, typer.Option(help="nginx's port, for a new nginx.conf.")
    ] = DEFAULT_PROXY_PORT,
    proxy: Proxy = DEFAULT_PROXY,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Send a share of the traffic to a version, or change the share."""
    from model.errors import InputError
    from serving.fleet import canary
    from serving.rollout.classes import compare_classes
    from serving.rollout.deployment import read_deployment
    from serving.server.client import Client
    from serving.server.versions import find_version

    running = require_server(home)
    with Client(running) as client:
        found, model = find_version(client, version), client.model
        if found is None or not found.is_ready:
            see = client.command("models list")
            raise InputError(f"version {version!r} isn't there or isn't ready; see `{see}`")
        deployment = read_deployment(client.store)
        change = str(compare_classes(client, deployment, version, deployment.default))
    runs = canary.start(proxy, running.port, model, version, percent, listen)
    line = f"{percent:g} % of the traffic through nginx goes to version {version}"
    begin = f"{proxy}/canary.conf is written; start nginx: nginx -p {shell_quote(proxy)} -c nginx.conf"
    document = {"version": version, "percent": percent, "listen": listen, "running": runs}
    emit(document, as_json, *([f"warning: {change}"] if change else []), line if runs else begin)


@app.command()
def off(proxy: Proxy = DEFAULT_PROXY) -> None:
    """Send all traffic to the default version again."""
    from serving.fleet import canary

    runs = canary.off(proxy)
    out.print("all traffic goes to the default version" + ("" if runs else "; nginx isn't running"))


@app.command()
def check(
    max_error_rate: Annotated[float, typer.Option(help="Share of answers that may be 5xx.")] = 0.01,
    max_p99_ratio: Annotated[
        float, typer.Option(help="The canary's p99 over the others', at most.")
    ] = 1.5,
    window: Annotated[float, typer.Option(help="Seconds to look back.")] = 60,
    least: Annotated[int, typer.Option(help="Judge only once there are this many answers.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", help="Look every 5 seconds, until Ctrl-C.")] = False,
    proxy: Proxy = DEFAULT_PROXY,
    as_json: Json = False,
) -> None:
    """Look at the canary's answers; switch it off, with exit code 1, if they are over a limit."""
    from model.errors import FlyobjError
    from serving.fleet import canary

    limits = canary.CanaryLimits(max_error_rate, max_p99_ratio, window, least)
    while True:
        mine, others, why = canary.judge(proxy, limits)
        if why:
            canary.off(proxy)
        if why or not watch:
            break
        time.sleep(_WATCH_S)
    sides = {"canary": mine, "default": others}
    table = new_table("side", "answers", "failed", "p99")
    for name, side in sides.items():
        table.add_row(name, str(side.answers), str(side.failed), f"{1000 * side.p99_s:.0f} ms")
    document = {name: asdict(side) for name, side in sides.items()} | {"switched_back": why}
    emit(document, as_json, table)
    if why:
        raise FlyobjError(f"switched back to the default version: {why}")
