"""`flyobj models`: versions on a running server."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.options import DEFAULT_HOME, Home, Json, emit, out

app = typer.Typer(no_args_is_help=True, help="Versions of the model on a running server.")


@app.command("list")
def list_(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the versions, their workers, and which one is the default."""
    from serving import server
    from serving.client import Client
    from serving.rollout import list_versions

    with Client(server.require(home)) as client:
        versions = [asdict(v) for v in list_versions(client)]
    emit(versions, as_json, version_table(versions))


@app.command()
def deploy(
    archive: Annotated[Path, typer.Argument(help=".mar of `flyobj archive`.")],
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Register an archive, wait for its workers, check its answers. The first becomes the default."""
    from serving import server
    from serving.client import Client
    from serving.rollout import deploy

    with Client(server.require(home)) as client:
        version = deploy(client, archive)
    line = f"version {version.version} is ready with {version.ready} workers"
    emit(asdict(version), as_json, line)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A deployed version.")], home: Home = DEFAULT_HOME
) -> None:
    """Let requests that name no version go to this one."""
    from serving import server
    from serving.client import Client
    from serving.rollout import promote

    with Client(server.require(home)) as client:
        promote(client, version)
    out.print(f"version {version} is the default")


def version_table(versions: list[dict[str, Any]]) -> Table:
    """Lay out versions for people."""
    table = Table("version", "default", "workers ready", "batch size", "batch delay", "archive")
    for v in versions:
        row = [
            f"{v['ready']}/{v['workers']}",
            str(v["batch_size"]),
            f"{v['max_batch_delay_ms']} ms",
        ]
        table.add_row(v["version"], "yes" if v["default"] else "", *row, v["archive"])
    return table
