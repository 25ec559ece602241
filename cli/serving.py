"""`flyobj archive` and `push`, the server's life, `predict` and `page`."""

import threading
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.next_steps import after_archive, after_serve, next_steps
from cli.options import App, Home, Json, ServerUrl, Store, choose_home, emit, require_server
from cli.version_tables import version_table
from model.text import shell_quote
from report.terminal import out
from serving.names import DEFAULT_MODEL, DEFAULT_PAGE_PORT, DEFAULT_PORT, DEFAULT_STORE

if TYPE_CHECKING:
    from serving.server.lifecycle import Server

app = App()

Drain = Annotated[
    float, typer.Option("--drain", min=0, help="Seconds to wait for the last answers before it ends.")
]
DEFAULT_DRAIN = 30.0


@app.command()
def archive(
    run: Annotated[Path, typer.Argument(help="Run folder of `flyobj train`.")],
    version: Annotated[str, typer.Option(help="Version of the archive, e.g. 1.0.")],
    name: Annotated[
        str, typer.Option(help="Name of the model in URLs; each name needs a model store of its own.")
    ] = DEFAULT_MODEL,
    model_store: Store = DEFAULT_STORE,
    engine: Annotated[
        str,
        typer.Option(
            help="Engines besides PyTorch: openvino, torch for none, auto for what is installed. "
            "A worker takes the fastest; FLYOBJ_ENGINE=torch or openvino overrides that."
        ),
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Package a run as a .mar, checked to answer as training did with each engine that it holds."""
    from report.progress import progress
    from serving.archive.build import build_archive

    with progress("packaging and checking"):
        path = build_archive(run, version, model_store, engine, name)
    document = {"archive": str(path), "model": name, "version": version}
    emit(document, as_json, f"{path} answers as training did", *after_archive(path))


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Inference port; the next four follow.")] = DEFAULT_PORT,
    model_store: Store = DEFAULT_STORE,
    home: Home = None,
    config: Annotated[
        Path | None, typer.Option(help="TorchServe's settings; config.properties by default.")
    ] = None,
    tokens: Annotated[
        bool,
        typer.Option(
            help="Whether calls need TorchServe's tokens. Without them anyone who reaches the ports "
            "may do anything, web pages in this machine's browser too: needs --private-ports."
        ),
    ] = True,
    private_ports: Annotated[
        bool,
        typer.Option(
            "--private-ports",
            help="Say that nothing reaches 127.0.0.1 here but a gate that checks keys, or the "
            "containers of a pod: no browser, no other user.",
        ),
    ] = False,
    gate: Annotated[
        Path | None,
        typer.Option(
            help="nginx's folder of `flyobj gate init`: it asks this server once it is ready, and no "
            "longer when it stops."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
    drain: Drain = DEFAULT_DRAIN,
    as_json: Json = False,
) -> None:
    """Start TorchServe on 127.0.0.1 and serve what was deployed from the model store before."""
    from model.errors import InputError
    from report.progress import progress, say
    from serving.fleet import balancer
    from serving.rollout import health
    from serving.rollout.reconcile import restore
    from serving.server import homes, lifecycle
    from serving.server.client import Client
    from serving.server.versions import list_versions

    if not (tokens or private_ports):
        raise InputError(
            "--no-tokens lets every program, and every web page open in this machine's browser, change "
            "what is served; add --private-ports if only a gate or a pod's own containers can reach the "
            "ports, or leave the tokens on"
        )
    if gate:
        balancer.require_upstreams(gate, [upstream := f"127.0.0.1:{port}"])
        balancer.set_upstream(gate, upstream, up=False)
    with progress("starting TorchServe"):
        home = home or homes.default_home()
        running = lifecycle.start(home, port, model_store, config, tokens, gate)
    keep, drain_s = False, 0.0
    try:
        with Client(running) as client:
            for version, why in (not_served := restore(client)).items():
                then = homes.command("models apply", home=home)
                say(f"version {version} isn't served: {why}; `{then}` then adds it")
            if gate and not health.why_not_ready(home):
                _open_gate(running)
            versions = list_versions(client)
            names = [f"{v.version}{' (default)' if v.default else ''}" for v in versions]
            served = f"serving {client.model} {', '.join(names)}" if names else "nothing deployed yet"
            more: dict[str, Any] = {"model": client.model, "not_served": not_served}
            more["versions"] = [asdict(v) for v in versions]
            line = f"ready on http://127.0.0.1:{port}, pid {running.pid}; {served}"
            emit(asdict(running) | more, as_json, line, *([] if names else after_serve(client)))
            if detach:
                keep = True
            else:
                drain_s = drain
                lifecycle.wait(running, client.tokens.keep)
    finally:
        if not keep:
            try:
                _close_gate(running)
                _, why_not = health.stop(home, drain_s)
            finally:  # a second Ctrl-C cuts the wait short
                lifecycle.stop(home)
            _require_drained(why_not)


@app.command()
def stop(home: Home = None, drain: Drain = DEFAULT_DRAIN) -> None:
    """Stop the server, and its workers, once no request waits for an answer.

    If it can't wait for that, the exit code is 1; --drain 0 doesn't wait.
    """
    from model.errors import InputError
    from report.progress import progress
    from serving.rollout import health
    from serving.server.homes import command
    from serving.server.lifecycle import find, list_running

    home = choose_home(home)
    with suppress(InputError):  # a damaged server.json is no reason to leave it running
        _close_gate(find(home))
    with progress("waiting for the last answers"):
        ran, why_not = health.stop(home, drain)
    others = [command("stop", home=server.home) for server in list_running()]
    still = f"; another runs: {' or '.join(others)}" if others else ""
    out.print("stopped" if ran else f"no server ran with home {home}{still}", soft_wrap=True)
    _require_drained(why_not if ran else None)


def _close_gate(running: "Server | None") -> None:
    """Let a server's gate send it no more requests; that it can't be told is no reason not to stop."""
    from model.errors import FlyobjError
    from report.progress import say
    from serving.fleet.balancer import set_upstream

    if running and running.gate:
        try:
            set_upstream(Path(running.gate), running.upstream, up=False)
        except FlyobjError as error:
            say(f"the gate may still ask this server: {error}")


def _open_gate(running: "Server") -> None:
    """Let the gate of a server that is ready send it requests."""
    from serving.fleet.balancer import set_upstream

    if running.gate:
        set_upstream(Path(running.gate), running.upstream, up=True)


def _require_drained(why_not: str | None) -> None:
    from model.errors import FlyobjError

    if why_not:
        raise FlyobjError(f"the server was stopped, but requests may have been cut off: {why_not}")


@app.command()
def status(
    home: Home = None,
    live: Annotated[
        bool, typer.Option("--live", help="Only check: exit code 0 if the server answers, else 1.")
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Only check: exit code 0 if the default answers, else 1.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say whether a server is running, where, with which versions, queues, memory and tokens."""
    from serving.rollout import health
    from serving.server import homes, lifecycle
    from serving.server.client import Client
    from serving.server.tokens import KINDS
    from serving.server.versions import list_versions

    if live or ready:  # a probe is of one server: another that runs doesn't stand in for it
        home = home or homes.default_home()
        _probe(health.why_not_ready(home) if ready else health.why_not_live(home))
        if ready:
            _open_gate(lifecycle.require(home))
        return
    running = require_server(home)
    with Client(running) as client:
        model, versions = client.model, [asdict(v) for v in list_versions(client)]
        kinds = KINDS if running.tokens else ()
        tokens = {kind: round(client.tokens.seconds_left(kind)) for kind in kinds}
    memory = {name: round(size) for name, size in lifecycle.memory_mib(running).items()}
    more = {"model": model, "versions": versions, "memory_mib": memory, "tokens_last_s": tokens}
    line = f"running on http://127.0.0.1:{running.port}, pid {running.pid}, {sum(memory.values())} MiB"
    minutes = ", ".join(f"{kind} {seconds / 60:.0f} min" for kind, seconds in tokens.items())
    last = f"tokens last: {minutes or 'none are needed'}"
    emit(asdict(running) | more, as_json, line, version_table(versions), last)


def _probe(why_not: str | None) -> None:
    from model.errors import FlyobjError

    if why_not:
        raise FlyobjError(why_not)


@app.command()
def token(
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and renew the tokens before they expire.")
    ] = False,
    home: Home = None,
) -> None:
    """Print the inference token, for curl."""
    from serving.server import lifecycle
    from serving.server.client import Client

    running = require_server(home)
    with Client(running) as client:
        print(client.tokens.get("inference"), flush=True)
        if watch:
            lifecycle.wait(running, client.tokens.keep)


@app.command()
def page(
    home: Home = None,
    port: Annotated[int, typer.Option(help="The page's port on 127.0.0.1.")] = DEFAULT_PAGE_PORT,
    server: ServerUrl = None,
    as_json: Json = False,
) -> None:
    """Open a page on 127.0.0.1 to try photos on the running server, until Ctrl-C."""
    from cli.targets import connect_to
    from report.progress import progress
    from serving.page.site import open_page

    with ExitStack() as stack, suppress(KeyboardInterrupt):
        with progress("opening the page"):
            client, version = stack.enter_context(connect_to(server, home)) if server else (None, None)
            where = Path() if server else choose_home(home)
            url = stack.enter_context(open_page(where, port, client, version))
        document = {"url": url, "home": server or str(where)}
        emit(document, as_json, f"the page is on {url}; Ctrl-C ends it")
        threading.Event().wait()


@app.command()
def push(
    archive: Annotated[Path, typer.Argument(help=".mar of `flyobj archive`.")],
    place: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX/, or s3://BUCKET/KEY.mar.")],
    force: Annotated[bool, typer.Option("--force", help="Write over another archive there.")] = False,
    as_json: Json = False,
) -> None:
    """Put an archive into S3, with its hash; `flyobj models deploy` takes it from there."""
    from serving.archive.s3 import push

    pushed = push(archive, place, force=force)
    done = "is written" if pushed.new else "is there already"
    then = next_steps(f"flyobj models deploy {shell_quote(pushed.url)}")
    emit(asdict(pushed), as_json, f"{pushed.url} {done}", *then)
