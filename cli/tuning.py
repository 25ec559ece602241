"""`flyobj tune`: the settings of the server that suit this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import rich
import typer
from rich.table import Table

from cli.options import Json, emit, photos_from

if TYPE_CHECKING:
    from loadtest.photos import Photos
    from loadtest.tune.search import Settings
    from loadtest.tune.trials import Plan, Tuned

DEFAULT_OUT = Path("runs/tune")
_PER_CORE = {"throughput": 8, "latency": 2}  # clients, if nobody says otherwise

app = typer.Typer()


@app.command()
def tune(
    archive: Annotated[Path, typer.Argument(help=".mar of `flyobj archive`; it is only read.")],
    goal: Annotated[
        str, typer.Option(help="throughput: most answers/s under the limit; latency: lowest p99.")
    ] = "throughput",
    p99_ms: Annotated[float, typer.Option(help="Limit of 99 % of the answers, ms.")] = 100,
    clients: Annotated[
        int | None,
        typer.Option(min=1, help="That ask at once; by default 8 a core for throughput, 2 for latency."),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to send; drawn ones without it.")
    ] = None,
    candidates: Annotated[int, typer.Option(min=2, help="Settings to try.")] = 27,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of each load.")] = 3,
    rounds: Annotated[int, typer.Option(min=5, help="Of the best against the defaults.")] = 8,
    config: Annotated[
        Path | None, typer.Option(help="File to tune; the product's handler/model-config.yaml.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of page and figures, replaced each time.")] = Path(
        "runs/tune"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no settings.")] = False,
    as_json: Json = False,
) -> None:
    """Try workers, threads, batches and engines on this machine, and keep what is better for sure."""
    import psutil

    from loadtest.tune import trials as tuning
    from loadtest.tune.page import write_report
    from loadtest.tune.search import GOALS, Goal
    from model.errors import InputError
    from serving.archive import model_config
    from serving.stock import stock_file

    if goal not in GOALS:
        raise InputError(f"--goal {goal!r} is unknown; allowed are {', '.join(GOALS)}")
    if not p99_ms > 0:
        raise InputError(f"--p99-ms {p99_ms!r} must be above 0, such as 100")
    config = config or stock_file("handler/model-config.yaml")
    defaults = tuning.from_config(model_config.read_settings(config), str(config))
    each = clients or _PER_CORE[goal] * len(psutil.Process().cpu_affinity())
    plan = tuning.Plan(Goal(goal, p99_ms), each, seconds, candidates, rounds)
    sent = photos_from(photos)
    out.mkdir(parents=True, exist_ok=True)
    tuned = _with_progress(archive, plan, sent, defaults)
    before, now = tuning.as_config(defaults), tuning.as_config(tuned.choice)
    changes = {name: value for name, value in now.items() if value != before[name]}
    if changes and not dry_run:
        model_config.write_settings(config, changes)
    changed = [{"setting": n, "before": before[n], "now": value} for n, value in changes.items()]
    document = tuning.as_document(tuned) | {
        "config": str(config),
        "changes": changed,
        "written": bool(changes) and not dry_run,
    }
    page = write_report(document, out)
    emit(document, as_json, *_show(document, page))


def _with_progress(archive: Path, plan: "Plan", photos: "Photos", defaults: "Settings") -> "Tuned":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from loadtest.tune.search import Measured, Settings, loads_needed
    from loadtest.tune.trials import tune

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=rich.get_console()) as progress:
        task = progress.add_task(str(defaults), total=loads_needed(plan.count) + 2 * plan.rounds)

        def told(settings: Settings, load: Measured) -> None:
            figures = f"{load.per_s:.0f}/s, p99 {load.p99_ms:.0f} ms"
            progress.update(task, advance=1, description=f"{settings}: {load.wrong or figures}")

        return tune(archive, plan, photos, defaults, told)


def _show(document: dict[str, Any], page: Path) -> list[Any]:
    duel, changes = document["duel"], document["changes"]
    table = Table("setting", "before", "now")
    for change in changes:
        table.add_row(change["setting"], str(change["before"]), str(change["now"]))
    times = f"{duel['ratio']:.2f} times as good as the defaults" if duel else "nothing was better"
    if duel:
        times += f", better in {sum(r > 1 for r in duel['ratios'])} of {len(duel['ratios'])} rounds"
    if not document["limit_kept"]:
        rich.get_console().print("[yellow]nothing kept p99 under the limit; give fewer --clients[/]")
    if not changes:
        return [f"the defaults stay: {times}; see {page}"]
    written = f"written into {document['config']}; package a version with it: flyobj archive"
    done = written if document["written"] else f"--dry-run: {document['config']} is as it was"
    return [table, f"{times}; {done}; see {page}"]
