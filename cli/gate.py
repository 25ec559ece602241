"""`flyobj gate`: nginx in front of a server, with TLS, keys and limits."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cli.options import App, Json, emit
from model.text import shell_quote
from report.terminal import out
from serving.names import DEFAULT_GATE, DEFAULT_MODEL, DEFAULT_PORT, DEFAULT_PROXY_PORT

app = App(no_args_is_help=True, help="Put nginx in front of a server: TLS, keys, limits, a log.")

_LOCAL = ["localhost", "127.0.0.1", "::1"]
Gate = Annotated[Path, typer.Option("--gate", help="nginx's folder.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder of nginx's files.")],
    domain: Annotated[str, typer.Option(help="The one name that it answers to.")] = "",
    self_signed: Annotated[
        bool,
        typer.Option("--self-signed", help="Make a certificate, for tries and for clients that get it."),
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate with its chain, PEM; certbot's of the domain else.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="HTTP without TLS: behind something that ends it.")
    ] = False,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Whose pages may ask, https://app.example.org; repeat it."),
    ] = None,
    rate: Annotated[int, typer.Option(help="Requests a second of one key.")] = 200,
    connections: Annotated[int, typer.Option(help="Requests of one key at a time.")] = 64,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="0.0.0.0:443 lets other machines in.")
    ] = "",
    server: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="Where TorchServe listens; repeat it for several."),
    ] = None,
    container: Annotated[
        bool,
        typer.Option(
            "--container",
            help="For Compose and Kubernetes: every address, metrics on 8091, logs to its output.",
        ),
    ] = False,
    model: Annotated[str, typer.Option(help="Name of the model in URLs.")] = DEFAULT_MODEL,
    as_json: Json = False,
) -> None:
    """Write nginx's configuration, certificate and a first key to DIR.

    The servers behind it run with `flyobj serve --no-tokens --private-ports`: the gate checks keys.
    """
    from model.errors import InputError
    from report.progress import say
    from serving.fleet import certificate as tls
    from serving.fleet import gate

    if sum((plain, self_signed, bool(certificate or certificate_key))) > 1:
        raise InputError("--plain, --self-signed and --certificate exclude one another; give one")
    if not (domain or self_signed or plain):
        raise InputError("give --domain NAME with its certificate, --self-signed for a try, or --plain")
    gate.require_new(folder)
    listen = listen or f"{'0.0.0.0' if container else '127.0.0.1'}:{DEFAULT_PROXY_PORT}"
    servers = tuple(server or [f"127.0.0.1:{DEFAULT_PORT}"])
    origins = tuple(allow_origin or ())
    settings = gate.GateSettings(
        domain, None, origins, rate, connections, listen, servers, container, model
    )
    files = None
    if self_signed:
        files = tls.make(folder, [domain] if domain else _LOCAL)
    elif not plain:
        files = tls.find(domain, certificate, certificate_key)
        files = tls.copy(files, folder) if container else files
    key = gate.create(folder, replace(settings, tls=files))
    if os.geteuid() == 0 and not container and not gate.open_to_workers(folder):
        say(
            f"nginx that root starts works as another user, who can't enter {folder.resolve()}: "
            "photos over 1 MiB would fail; move it, or start nginx as an ordinary user"
        )
    lines = [f"start it: nginx -p {shell_quote(folder)} -c nginx.conf"]
    if key:
        lines.append(f"the key 'first', which is shown once: {key}")
    document = {"gate": str(folder), "listen": listen, "tls": files is not None, "key": key}
    emit(document, as_json, *lines)


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Who gets it; the access log has this name.")],
    remove: Annotated[bool, typer.Option("--remove", help="Let this key in no longer.")] = False,
    folder: Gate = DEFAULT_GATE,
) -> None:
    """Make a key and print it, or remove one; a running nginx takes it up at once."""
    from serving.fleet import gate

    if remove:
        gate.remove_key(folder, name)
        out.print(f"key {name} is removed")
    else:
        print(gate.add_key(folder, name), flush=True)
