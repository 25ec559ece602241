"""`flyobj push`, and archives that other commands take from S3."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import rich
import typer

from cli.options import Json, emit

app = typer.Typer()


@app.command()
def push(
    archive: Annotated[Path, typer.Argument(help=".mar of `flyobj archive`.")],
    place: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX/, or s3://BUCKET/KEY.mar.")],
    force: Annotated[bool, typer.Option("--force", help="Write over another archive there.")] = False,
    as_json: Json = False,
) -> None:
    """Put an archive into S3, with its hash; `flyobj models deploy` takes it from there."""
    from serving.archive.s3 import push

    with _shown(f"uploading {archive.name}") as progress:
        pushed = push(archive, place, force=force, progress=progress)
    done = "is written" if pushed.new else "is there already"
    line = f"{pushed.url} {done}; next: flyobj models deploy {pushed.url}"
    emit(asdict(pushed), as_json, line)


def as_file(archive: str, store: Path) -> Path:
    """Take an archive as it is named: a file, or an address in S3, from where it comes into `store`."""
    if "://" not in archive:
        return Path(archive)
    from serving.archive.s3 import fetch

    with _shown(f"downloading {archive}") as progress:
        return fetch(archive, store, progress)


@contextmanager
def _shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw how far a transfer is; the function takes the bytes done and all bytes."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=rich.get_console()) as bar:
        task = bar.add_task(rich.markup.escape(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
