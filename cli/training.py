"""`flyobj train`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, emit

app = typer.Typer()


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Folder with train/CLASS/ photos.")],
    out_: Annotated[Path, typer.Option("--out", help="Run folder to make, e.g. runs/first.")],
    weights: Annotated[
        str, typer.Option(help="imagenet (downloads once), none, or a mobilenet_v2 state dict.")
    ] = "imagenet",
    size: Annotated[int, typer.Option(help="Side of the network's input, pixels.")] = 224,
    epochs: Annotated[int, typer.Option(help="Passes over the photos, all stages together.")] = 12,
    batch_size: Annotated[int, typer.Option(help="Photos a step.")] = 32,
    workers: Annotated[int, typer.Option(help="Processes that load photos; 0 for none.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    rate: Annotated[
        float | None, typer.Option(help="Highest learning rate of the whole-network stage.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune MobileNetV2: a new head first, then the whole network. Writes a run folder."""
    from training.run import Settings, train

    settings = Settings(weights, size, epochs, batch_size, workers, seed, rate)
    results = [asdict(result) for result in train(data, out_, settings)]
    best = results[-1]["val_accuracy"]
    emit(
        {"run": str(out_), "stages": results},
        as_json,
        f"run {out_}: validation accuracy {best:.3f}; next: flyobj evaluate {out_} --data {data}",
    )
