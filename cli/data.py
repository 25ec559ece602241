"""`flyobj data`: make data sets."""

from pathlib import Path
from typing import Annotated

import rich
import typer

from cli.options import Json, emit

app = typer.Typer(no_args_is_help=True, help="Make data sets.")


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    per_class: Annotated[int, typer.Option(help="Photos a class, train and test together.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw stand-in photos of quadcopters, winged drones and birds, as train/CLASS and test/CLASS."""
    from rich.progress import Progress

    from training.synthetic import CLASSES, synthesize

    with Progress(console=rich.get_console()) as progress:
        task = progress.add_task("drawing", total=per_class * len(CLASSES))
        counts = synthesize(folder, per_class, seed, progress=lambda n: progress.advance(task, n))
    emit(counts, as_json, f"{sum(counts.values())} photos in {folder}: {counts}")
