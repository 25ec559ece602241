"""`flyobj tune`: the settings of the server that suit this machine."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import App, Json, emit

DEFAULT_OUT = Path("runs/tune")

app = App()


@app.command()
def tune(
    archive: Annotated[Path, typer.Argument(help=".mar of `flyobj archive`; it is only read.")],
    goal: Annotated[
        Literal["throughput", "latency"],
        typer.Option(help="throughput: most answers/s within the limit; latency: lowest p99."),
    ] = "throughput",
    p99_ms: Annotated[float, typer.Option(min=0.1, help="Limit of 99 % of the answers, ms.")] = 100,
    clients: Annotated[
        int | None,
        typer.Option(
            min=1, help="Clients at once; by default 8 per core for throughput, 2 for latency."
        ),
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of photos; drawn ones by default.")] = None,
    candidates: Annotated[int, typer.Option(min=2, help="Settings to try.")] = 27,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of each load.")] = 3,
    rounds: Annotated[int, typer.Option(min=5, help="Rounds of the best against the defaults.")] = 8,
    config: Annotated[
        Path | None, typer.Option(help="File to tune; the product's handler/model-config.yaml.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for page and figures; replaced.")] = DEFAULT_OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no settings.")] = False,
    as_json: Json = False,
) -> None:
    """Try workers, threads, batches and engines on this machine, and keep what is clearly better."""
    from loadtest.photos import photos_to_send
    from loadtest.tune import trials
    from loadtest.tune.page import PAGE, write_report
    from loadtest.tune.search import TunePlan
    from model.errors import InputError
    from serving.archive import model_config
    from serving.rollout.default_workers import usable_cores, workers_of
    from serving.stock import ROOT, stock_file

    ours = stock_file("handler/model-config.yaml")
    may_write = os.access(ours, os.W_OK) and (ROOT / "pyproject.toml").is_file()  # else: installed
    if not (config or dry_run or may_write):
        raise InputError(f"{str(ours)!r} can't be tuned in place; give --config COPY_OF_IT or --dry-run")
    config = config or ours
    given = trials.from_config(model_config.read_settings(config), str(config))
    defaults = replace(given, workers=workers_of(os.getpid()))
    each = clients or usable_cores(os.getpid()) * (8 if goal == "throughput" else 2)
    plan = TunePlan(goal, p99_ms, each, seconds, candidates, rounds)
    result = trials.tune(archive, plan, photos_to_send(photos), defaults)
    before, now = trials.as_config(defaults), trials.as_config(result.choice)
    changes = {name: value for name, value in now.items() if value != before[name]}
    if written := bool(changes) and not dry_run:
        model_config.write_settings(config, changes)
    pairs = {name: [before[name], value] for name, value in changes.items()}
    document = write_report(result, {"config": str(config), "changes": pairs, "written": written}, out)
    lines = [f"{name}: {was} before, now {value}" for name, (was, value) in pairs.items()]
    if changes:
        done = f"written into {config}" if written else f"--dry-run: {config} is unchanged"
        then = f"flyobj archive, then flyobj models deploy --workers {result.choice.workers}"
        lines.append(f"{done}; package a version with it: {then}")
    if duel := result.duel:
        times = f"{duel.ratio:.2f} times as good as the defaults"
        lines.append(f"{result.best}: {times}, better in {duel.wins} of {rounds} rounds")
    if not result.limit_kept:
        lines.append("nothing kept p99 within the limit; give fewer --clients")
    emit(document, as_json, *(lines or [f"the defaults stay: {defaults}"]), f"see {out / PAGE}")
