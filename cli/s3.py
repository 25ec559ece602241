"""`flyobj push`, and archives that other commands take from S3."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, emit

app = typer.Typer()


@app.command()
def push(
    archive: Annotated[Path, typer.Argument(help=".mar of `flyobj archive`.")],
    place: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX/, or s3://BUCKET/KEY.mar.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite another archive there.")] = False,
    as_json: Json = False,
) -> None:
    """Put an archive into S3, with its hash; `flyobj models deploy` takes it from there."""
    from serving.archive.s3 import push

    pushed = push(archive, place, force=force)
    done = "is written" if pushed.new else "is there already"
    line = f"{pushed.url} {done}; next: flyobj models deploy {pushed.url}"
    emit(asdict(pushed), as_json, line)


def as_file(archive: str, store: Path) -> Path:
    """Take an archive as it is named: a file, or an address in S3, from where it comes into `store`."""
    if "://" not in archive:
        return Path(archive)
    from serving.archive.s3 import fetch

    return fetch(archive, store)
