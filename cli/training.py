"""`flyobj train`, `calibrate` and `quantize`."""

from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.next_steps import after_train
from cli.options import App, GroupRegex, Json, Size, Weights, emit, renaming
from model.errors import InputError
from report.terminal import new_table

if TYPE_CHECKING:
    from training.run import Report

app = App()

_recipe = partial(typer.Option, rich_help_panel="Recipe")
_look = partial(typer.Option, rich_help_panel="Looking and resuming")
_machines = partial(typer.Option, rich_help_panel="Machines")


@app.command(cls=renaming({"--rate": "--lr"}))
def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with train/CLASS/ photos, and validation/CLASS/ ones if there are; with "
            "--resume only if it was moved.",
            show_default=False,
        ),
    ] = None,
    out_: Annotated[
        Path | None,
        typer.Option("--out", help="Run folder to make; runs/1, runs/2, ... by default."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Unfreeze blocks until validation accuracy is this; else while it pays."),
    ] = None,
    weights: Weights = "imagenet",
    size: Size = 224,
    epochs: Annotated[
        int, typer.Option(help="Passes over the photos at most, all stages together.")
    ] = 12,
    batch_size: Annotated[int, typer.Option(help="Photos per step, all processes together.")] = 32,
    workers: Annotated[int, typer.Option(help="Processes that load photos; 0 for none.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    group_regex: GroupRegex = None,
    lr: Annotated[float | None, _recipe(help="Highest learning rate, instead of range tests.")] = None,
    layer_decay: Annotated[
        float, _recipe(help="Learning rate of a block over that of the one above it.")
    ] = 1.0,
    patience: Annotated[int, _recipe(help="Epochs without improvement that end a stage.")] = 4,
    augment: Annotated[
        str, _recipe(help="How photos are changed at random: mission (much), mild or none.")
    ] = "mild",
    head: Annotated[
        str, _recipe(help="New layers on the features: linear, or mlp with a hidden one.")
    ] = "mlp",
    refit: Annotated[
        bool, _recipe("--refit", help="At the end, train again on the validation photos too.")
    ] = False,
    label_smoothing: Annotated[float, _recipe(help="Share of a label spread over all classes.")] = 0.0,
    mix: Annotated[str, _recipe(help="Mix photos: none, mixup or cutmix.")] = "none",
    ema: Annotated[float, _recipe(help="Decay per step of the weights' moving average.")] = 0.0,
    class_weights: Annotated[
        str,
        _recipe(help="Weight the loss against imbalance: on, off, or auto (from 2 to 1)."),
    ] = "auto",
    resume: Annotated[
        Path | None, _look(help="Run to resume; only --lr and Machines can change.")
    ] = None,
    lr_find_only: Annotated[
        bool, _look("--lr-find-only", help="Draw the range tests and stop.")
    ] = False,
    logger: Annotated[
        str, _look(help="tensorboard, csv or wandb; CSV is always written.")
    ] = "tensorboard",
    precision: Annotated[str, _machines(help="32, or bf16 where the hardware has it.")] = "32",
    devices: Annotated[int, _machines(help="Processes, or GPUs, that train.")] = 1,
    nodes: Annotated[int, _machines(help="Machines that train together.")] = 1,
    as_json: Json = False,
) -> None:
    """Fine-tune MobileNetV2: a new head, then more and more blocks as long as that pays.

    Before each stage a range test finds its learning rate. Writes a run folder. Stopped with Ctrl-C or
    killed, a run continues with --resume RUN, to the same result.
    """
    from training import run
    from training.fit.settings import TrainSettings

    if resume is not None:
        changes = _explicit_options(context, "lr", "workers", "devices", "nodes")
        _show(run.resume(resume, changes, data), as_json)
        return
    if data is None:
        raise InputError("train needs DATA, a folder with train/CLASS/ photos, or --resume RUN")
    out = out_ or run.next_free()
    names = {field.name for field in fields(TrainSettings)}  # each is an option of that name
    settings = TrainSettings(**{k: v for k, v in context.params.items() if k in names})
    if not lr_find_only:
        _show(run.train(data, out, settings), as_json)
    elif (found := run.find_lrs(data, out, settings)) is not None:
        rows = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
        emit({"run": str(out), "lrs": found}, as_json, f"{rows}; see {out}/logs/range_test-*.png")


def _explicit_options(context: typer.Context, *allowed: str) -> dict[str, Any]:
    """Collect the options given beside --resume; the others were decided when the run began."""
    given = {
        name: value
        for name, value in context.params.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    if wrong := sorted(set(given) - {*allowed, "resume", "data", "as_json"}):
        raise InputError(
            f"--resume continues with the run's own settings; {wrong} can't be changed, only "
            f"{sorted(allowed)}; start a new run for that"
        )
    return {name: value for name, value in given.items() if name in allowed}


def _show(report: "Report | None", as_json: bool) -> None:
    if report is None:  # not the first of several processes
        return
    table = new_table("stage", "trainable blocks", "lr", "epochs", "val accuracy", "photos/s", "seconds")
    for r in report.stages:
        figures = (f"{r.lr:.1e}", f"{r.epochs}", r.accuracy)
        row = (r.stage.name, f"{r.stage.trainable_blocks}", *figures)
        table.add_row(*row, f"{r.photos_per_s:.0f}", f"{r.seconds:.0f}")
    document = {
        "run": str(report.run),
        "stages": [asdict(r) for r in report.stages],
        "kept": report.kept,
        "stopped_because": report.stopped_because,
    }
    done = f"{report.run}: {report.stopped_because}"
    emit(document, as_json, table, done, *([] if as_json else after_train(report)))


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder of `flyobj train`.")],
    reject_rate: Annotated[
        float | None,
        typer.Option(
            help='Answer "unknown" if fewer known photos than this share are as strange; 0.02.'
        ),
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option(help="Folder of photos of no known class, to choose how novelty is measured."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder the run was trained on, if it has moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit temperature and novelty on validation photos; with --reject-rate, answer "unknown"."""
    from training.calibrate import recalibrate

    fit = recalibrate(run, data, reject_rate, unknown)
    lines = [
        f"temperature {fit.temperature:.3f}; {fit.note}",
        f"{fit.photos} validation photos of {fit.groups} groups: calibration error {fit.ece_before:.3f} "
        f"at temperature 1, {fit.ece:.3f} at {fit.tried:.3f}, each group at one fitted without it",
    ]
    if n := fit.novelty:
        tried = "".join(f"; {kind}: AUROC {auroc:.3f}" for kind, auroc in n.auroc.items())
        lines.append(
            f"novelty by {n.kind} in {n.dimensions} dimensions, of {n.photos} training photos and "
            f"{n.groups} held-out groups{tried}"
        )
    if fit.reject_rate is not None:
        lines.append(
            f'"unknown" where novelty is below {fit.reject_rate:g}, '
            f"{fit.rejected} of the validation photos"
        )
    lines.append("archives made before stay as they are; package and evaluate the run again")
    emit(asdict(fit), as_json, *lines)


@app.command()
def quantize(
    run: Annotated[Path, typer.Argument(help="Run folder of `flyobj train`.")],
    out_: Annotated[
        Path | None, typer.Option("--out", help="Run folder to make; RUN-int8 or RUN-bf16 by default.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="int8, or bf16 where the processor computes in that.")
    ] = "int8",
    data: Annotated[
        Path | None, typer.Option(help="Folder the run was trained on, if it has moved.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write it even if it isn't shown to be as good.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a run that answers in 8 or 16 bits, at about half the cost, if it is as good.

    Validation photos decide, by the rule of `compare`: at most half a point of accuracy may be lost,
    with 95 % confidence. Otherwise nothing is written, and the exit code is 1.
    """
    from cli.next_steps import after_quantize
    from report.comparison import figures, in_words
    from training.quantize import quantize

    result = quantize(run, out_ or run.with_name(f"{run.name}-{precision}"), precision, data, force)
    lines = [
        f"{precision}, {result.kept.how}: {figures(result.kept.comparison)}",
        f"{result.run}: {in_words(result.kept.comparison, result.run, result.parent)}",
    ]
    emit(asdict(result), as_json, *lines, *([] if as_json else after_quantize(Path(result.run))))
