"""`flyobj`, the one command. Thin: options in, one call, results out.

Results go to standard output (as JSON with --json), progress and messages to standard error. This is
the only place where errors become exit codes: 0 done, 1 the work failed, 2 the input is wrong.
Rooms are imported inside the commands, so that `flyobj --help` doesn't wait for PyTorch.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import rich
import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From folders of labelled photos to a served, versioned, load-tested image classifier.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make data sets.")
models_app = typer.Typer(no_args_is_help=True, help="Versions of the model on a running server.")
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")

out = Console(highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Home = Annotated[Path, typer.Option(help="Folder of the server's pid, tokens and logs.")]
Store = Annotated[Path, typer.Option(help="Folder of the archives.")]
DEFAULT_HOME, DEFAULT_STORE = Path("runs/server"), Path("model-store")


@data_app.command()
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
    _print(counts, as_json, f"{sum(counts.values())} photos in {folder}: {counts}")


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
    _print(
        {"run": str(out_), "stages": results},
        as_json,
        f"run {out_}: validation accuracy {best:.3f}; next: flyobj evaluate {out_} --data {data}",
    )


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of `flyobj train`.")],
    data: Annotated[Path, typer.Option(help="Folder with the split's CLASS/ photos.")],
    split: Annotated[str, typer.Option(help="Which folder of DATA.")] = "test",
    as_json: Json = False,
) -> None:
    """Measure accuracy on photos the model hasn't seen; draws the confusion matrix into the run."""
    from training.evaluate import evaluate

    result = evaluate(run, data, split)
    table = Table("class", "precision", "recall", "F1", "photos", title=f"{split} photos")
    for name, row in result.per_class.items():
        figures = [f"{row[k]:.3f}" for k in ("precision", "recall", "f1")]
        table.add_row(name, *figures, f"{row['photos']:.0f}")
    low, high = result.accuracy_95
    line = f"accuracy {result.accuracy:.3f} (95 %: {low:.3f} to {high:.3f}); see {run}/confusion.png"
    _print(asdict(result), as_json, table, line)


@app.command()
def archive(
    run: Annotated[Path, typer.Argument(help="Run folder of `flyobj train`.")],
    version: Annotated[str, typer.Option(help="Version of the archive, e.g. 1.0.")],
    model_store: Store = DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Package a run as a .mar, checked to answer as training did."""
    from serving.archive import build_archive

    with rich.get_console().status("packaging and checking"):
        path = build_archive(run, version, model_store)
    line = f"{path} answers as training did; next: flyobj models deploy {path}"
    _print({"archive": str(path), "version": version}, as_json, line)


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="Inference port; management, metrics follow.")] = 8080,
    model_store: Store = DEFAULT_STORE,
    home: Home = DEFAULT_HOME,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running and return.")] = False,
    as_json: Json = False,
) -> None:
    """Start TorchServe on 127.0.0.1 and serve what was deployed from the model store before."""
    from serving import server
    from serving.client import Client
    from serving.rollout import reconcile

    with rich.get_console().status("starting TorchServe"):
        running = server.start(home, port, model_store)
    keep = False
    try:
        with Client(running) as client:
            versions = reconcile(client)
        names = [f"{v.version}{' (default)' if v.default else ''}" for v in versions]
        served = f"serving {', '.join(names)}" if names else "nothing deployed yet: flyobj models deploy"
        document = {**asdict(running), "versions": [asdict(v) for v in versions]}
        _print(document, as_json, f"ready on http://127.0.0.1:{port}, pid {running.pid}; {served}")
        if detach:
            keep = True
        else:
            server.wait(running)
    finally:
        if not keep:
            server.stop(home)


@app.command()
def stop(home: Home = DEFAULT_HOME) -> None:
    """End the server of this home, and its workers."""
    from serving import server

    ran = server.stop(home)
    out.print("stopped" if ran else f"no server ran with home {home}")


@app.command()
def status(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Say whether a server runs, on which ports, with which versions and how much memory."""
    from serving import server
    from serving.client import Client
    from serving.rollout import list_versions

    running = server.require(home)
    with Client(running) as client:
        versions = list_versions(client)
    memory = {name: round(size) for name, size in server.memory_mib(running).items()}
    document = {**asdict(running), "versions": [asdict(v) for v in versions], "memory_mib": memory}
    line = f"running on http://127.0.0.1:{running.port}, pid {running.pid}, {sum(memory.values())} MiB"
    _print(document, as_json, line, _version_table([asdict(v) for v in versions]))


@app.command()
def token(home: Home = DEFAULT_HOME) -> None:
    """Print the inference token, for curl."""
    from serving import server
    from serving.client import Client

    with Client(server.require(home)) as client:
        print(client.token("inference"))


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Image files.")],
    version: Annotated[str | None, typer.Option(help="A version other than the default.")] = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Classify photos with the running server."""
    from model.errors import InputError, PhotoError
    from serving import server
    from serving.client import Client

    if missing := [str(photo) for photo in photos if not photo.is_file()]:
        raise InputError(f"no such file: {', '.join(missing)}; give image files")
    answers: list[dict[str, Any]] = []
    with Client(server.require(home)) as client:
        for photo in photos:
            try:
                answers.append({"photo": str(photo), **client.predict(photo.read_bytes(), version)})
            except PhotoError as error:
                answers.append({"photo": str(photo), "error": str(error)})
    table = Table("photo", "answer", "confidence", "version")
    for a in answers:
        good = "predicted" in a
        table.add_row(
            a["photo"],
            a["predicted"] if good else f"[red]{rich.markup.escape(a['error'])}",
            f"{a['confidence']:.3f}" if good else "",
            a["model_version"] if good else "",
        )
    _print(answers, as_json, table)
    if bad := [a for a in answers if "error" in a]:
        raise InputError(f"{len(bad)} of {len(answers)} photos can't be answered")


@models_app.command("list")
def list_(home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """List the versions, their workers, and which one is the default."""
    from serving import server
    from serving.client import Client
    from serving.rollout import list_versions

    with Client(server.require(home)) as client:
        versions = [asdict(v) for v in list_versions(client)]
    _print(versions, as_json, _version_table(versions))


@models_app.command()
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
    _print(asdict(version), as_json, line)


@models_app.command()
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


def _version_table(versions: list[dict[str, Any]]) -> Table:
    table = Table("version", "default", "workers ready", "batch size", "batch delay", "archive")
    for v in versions:
        row = [
            f"{v['ready']}/{v['workers']}",
            str(v["batch_size"]),
            f"{v['max_batch_delay_ms']} ms",
        ]
        table.add_row(v["version"], "yes" if v["default"] else "", *row, v["archive"])
    return table


def _print(document: Any, as_json: bool, *human: Any) -> None:
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for part in human:
        out.print(part, soft_wrap=isinstance(part, str))


def main() -> None:
    """Run a command; errors become one line and an exit code."""
    from model.errors import FlyobjError

    rich.reconfigure(stderr=True)
    try:
        app()
    except FlyobjError as error:
        rich.get_console().print(f"[red]error:[/] {rich.markup.escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        rich.get_console().print("interrupted")
        sys.exit(130)


if __name__ == "__main__":
    main()
