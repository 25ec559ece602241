"""`flyobj demo`: the whole job from nothing, by the commands that a user has.

Draws (or takes) photos, trains, evaluates, packages version 1.0, serves it, classifies a photo of each
class, forms batches, packages and promotes version 2.0, runs 20 s of Locust, stops.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import App, Json, Size, Weights, emit
from model.text import shell_quote
from report.terminal import Table, new_table

LR = 1e-3  # of pre-trained weights; range tests are careful, which takes more epochs than a demo has
TARGET = 0.93  # validation accuracy at which nothing more is unfrozen
BATCH = 16  # photos a step; from scratch, many small steps get further than few large ones

app = App()


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder with train/CLASS/ and test/CLASS/; drawn without it.")
    ] = None,
    weights: Weights = "none",
    size: Size = 128,
    epochs: Annotated[int, typer.Option(help="Passes over the photos.")] = 24,
    per_class: Annotated[int, typer.Option(help="Photos drawn for each class.")] = 600,
    out: Annotated[Path, typer.Option(help="Folder of everything made; replaced each time.")] = Path(
        "runs/demo"
    ),
    as_json: Json = False,
) -> None:
    """Do the whole job from nothing: draw photos, train, package, serve, roll out, load.

    The figures are in OUT/summary.json, the pictures in OUT/report.html.
    """
    from cli.demo_report import write_report
    from cli.demo_steps import Demo
    from model.files import write_json

    made = Demo(out, data or out / "data")
    training = ["--weights", weights, "--size", size, "--epochs", epochs, "--batch-size", BATCH]
    training += [] if weights == "none" else ["--lr", LR, "--target", TARGET]
    made.run(None if data else per_class, training)
    write_json(made.summary, out / "summary.json")
    write_report(made.summary, made.data, out)
    emit(made.summary, as_json, _table(made.summary, out))


def _table(summary: dict[str, Any], out: Path) -> Table:
    """What was done, on one screen."""
    table = new_table(show_header=False, title="flying-objects demo", title_justify="left")
    (low, high), load, memory = summary["accuracy_95"], summary["loadtest"], summary["memory_mib"]
    answers = [f"{p['truth']} → {p['predicted']}" for p in summary["predictions"]]
    sizes = ", ".join(f"{count} of {size}" for size, count in summary["batch_sizes"].items())
    java = sum(size for name, size in memory.items() if name.startswith("java"))
    rows = {
        "test accuracy": f"{summary['accuracy']:.3f} (95 %: {low:.3f} to {high:.3f})",
        "truth → answer": answers,
        "archives": summary["archives"],
        "default version": summary["default_version"],
        "server up, 1.0 ready": f"{summary['server_up_s']} s, {summary['deploy_s']} s more",
        "batches that formed": f"{sizes} requests",
        "load": f"{load['requests']} requests by {load['users']} users, {load['failures']} failed",
        "": f"{load['rps']}/s, p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms",
        "memory": f"Java {java:.0f} MiB, all {sum(memory.values()):.0f} MiB with two versions",
        "time": f"{summary['seconds']['all']:.0f} s",
        "see": f"{out}/report.html, {out}/summary.json",
        "serve it again": f"flyobj serve --model-store {shell_quote(out / 'model-store')} "
        f"--home {shell_quote(out / 'server')}",
    }
    for name, value in rows.items():
        for number, line in enumerate(value if isinstance(value, list) else [value]):
            table.add_row("" if number else name, line)
    return table
