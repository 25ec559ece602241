"""`flyobj loadtest`: Locust on the running server, its capacity, and two capacities compared."""

import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import App, Command, Home, Json, emit, require_server
from report.terminal import new_table, styled

if TYPE_CHECKING:
    from loadtest.capacity.compare import CapacityComparison
    from loadtest.capacity.find import CapacitySettings
    from loadtest.capacity.records import Capacity

app = App()

_LOCUST_DEFAULTS = ("--users", "8", "--spawn-rate", "8", "--run-time", "20s")


class LoadtestCommand(Command):
    """Tells what is Locust's from what is ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let nothing but what follows `--` go to Locust; says how to if something else would."""
        from model.errors import InputError

        given, behind = [*args], args[args.index("--") + 1 :] if "--" in args else []
        rest = super().parse_args(ctx, args)
        if stray := rest[: len(rest) - len(behind)]:
            ours = [word for word in given[: len(given) - len(behind)] if word != "--"]
            for word in stray:
                ours.remove(word)
            typed = shlex.join(["flyobj", "loadtest", *ours, "--", *rest])
            raise InputError(f"loadtest has no {stray[0]!r}; what is for Locust follows --: `{typed}`")
        return rest


@app.command(
    cls=LoadtestCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def loadtest(
    context: typer.Context,
    find_capacity: Annotated[
        bool,
        typer.Option(
            "--find-capacity", help="Look for the highest rate whose p99 stays under the limit."
        ),
    ] = False,
    p99_ms: Annotated[float, typer.Option(help="The limit, ms.")] = 100.0,
    max_failures: Annotated[float, typer.Option(help="Share of requests that may fail.")] = 0.001,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to send; drawn ones without it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for page and figures; runs/capacity/TIME by default.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="BEFORE AFTER", help="Compare two such folders; exit code 1 if it got worse."
        ),
    ] = None,
    max_minutes: Annotated[float, typer.Option(help="Time limit for the whole search.")] = 8.0,
    probe_seconds: Annotated[
        float, typer.Option(help="Length of a probe; confirming runs take 2.5 times as long.")
    ] = 8.0,
    first_rate: Annotated[float, typer.Option(help="Requests a second to begin with.")] = 20.0,
    seed: Annotated[int, typer.Option(help="Seed of the times at which requests are sent.")] = 1,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Put load on the running server: by Locust, or to find its capacity.

    Locust runs headless; what follows `--` goes to it, by default 8 users for 20 s.
    """
    from model.errors import InputError

    if context.args and (find_capacity or compare):
        raise InputError(f"{' '.join(context.args)!r} would go to Locust, which isn't used here")
    if compare:
        _compare(compare, out, as_json)
    elif find_capacity:
        from loadtest.capacity.find import CapacitySettings

        settings = CapacitySettings(p99_ms, max_failures, first_rate, probe_seconds, max_minutes, seed)
        _find_capacity(settings, photos, out, home, as_json)
    else:
        raise typer.Exit(_locust(photos, home, context.args, as_json))


def _locust(photos: Path | None, home: Path | None, arguments: list[str], as_json: bool) -> int:
    """Run Locust headless against the server of this home; its exit code is returned."""
    from model.errors import InputError
    from serving.rollout.store import how_to_deploy
    from serving.server.client import Client
    from serving.stock import stock_file

    running = require_server(home)
    with Client(running) as client:
        client.tokens.keep()
        name = client.model
        if client.default_version() is None:
            raise InputError(f"nothing is deployed yet; `{how_to_deploy(client)}`")
    command = [sys.executable, "-P", "-m", "locust"]
    command += ["--config", str(stock_file("locust.conf"))]
    command += ["--locustfile", str(stock_file("loadtest/locustfile.py"))]
    command += ["--headless", "--host", f"http://127.0.0.1:{running.port}"]
    command += ["--key-file", str(running.key_file or ""), "--model-name", name]
    command += ["--photos", str(photos)] if photos else []
    command += ["--json"] if as_json else []
    command += arguments or _LOCUST_DEFAULTS
    # Ctrl-C is ours: Locust, told by the terminal too, would print where it was.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()  # it prints its summary
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        raise
    finally:
        process.kill()


def _find_capacity(
    settings: "CapacitySettings",
    photos: Path | None,
    out: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    from loadtest.capacity.find import find_capacity
    from loadtest.capacity.page import write_page
    from loadtest.capacity.records import PAGE, check_folder, require_knee, write_figures
    from loadtest.photos import photos_to_send
    from serving.server.client import Client

    out = out or Path("runs/capacity") / datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    check_folder(out)
    running, sent = require_server(home), photos_to_send(photos)
    with Client(running) as client:
        capacity = find_capacity(running, client, sent, settings)
    write_figures(capacity, out)
    write_page(capacity, out / PAGE)
    emit(asdict(capacity), as_json, *_lines(capacity), f"look at {out / PAGE}")
    require_knee(capacity, out)


def _compare(folders: tuple[Path, Path], out: Path | None, as_json: bool) -> None:
    from loadtest.capacity.compare import compare, require_no_regression
    from loadtest.capacity.page import write_comparison
    from loadtest.capacity.records import check_folder, read_capacity
    from model.errors import InputError

    if out:
        check_folder(out)
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"{str(folders[0])!r} can't be compared with itself; give two folders")
    before, after = (read_capacity(folder) for folder in folders)
    comparison = compare(before, after)
    page = (out or folders[1]) / f"against-{folders[0].resolve().name}.html"
    write_comparison(comparison, before, after, page)
    emit(asdict(comparison), as_json, *_differences(comparison), f"look at {page}")
    require_no_regression(comparison)


def _lines(capacity: "Capacity") -> list[Any]:
    from loadtest.capacity.sizing import core_hours

    knee, limit, at = capacity.knee, capacity.settings["p99_ms"], capacity.at_knee
    if knee.rate is None or at is None or at.figures.latencies is None:
        return [f"no rate held; after {len(capacity.probes)} probes {capacity.ended}"]
    least = "at least " if knee.at_least else ""
    lines: list[Any] = [
        f"knee {least}{knee.rate:g} requests/s: p99 {at.figures.latencies.p99_ms:.0f} of {limit:g} ms "
        f"allowed, batches of {at.mean_batch or 0:.1f}"
    ]
    if at.cpu_ms:
        lines.append(
            f"{at.cpu_ms:.1f} CPU-ms an answer, {core_hours(at.cpu_ms):.1f} core-hours for a million"
        )
    if knee.limited_by == "generator":
        why = "the load generator is the bottleneck, not the server: it sent too late"
        lines.append(styled(why, "yellow"))
    if knee.limited_by == "others":
        why = "other programs were in the way each time that a higher rate was tried"
        lines.append(styled(why, "yellow"))
    if not knee.confirmed:
        lines.append(styled(f"not confirmed by longer runs: {capacity.ended}", "yellow"))
    return lines


def _differences(comparison: "CapacityComparison") -> list[Any]:
    table = new_table("requests/s", "p99 before", "after", "ratio", "")
    for d in comparison.differences:
        after = "-" if d.after_ms is None else f"{d.after_ms:.1f} ms"
        ratio = "-" if d.ratio is None else f"{d.ratio:.2f}"
        mark = styled("worse", "red") if d.worse else ""
        table.add_row(f"{d.rate:g}", f"{d.before_ms:.1f} ms", after, ratio, mark)
    changed = [
        f"{name}: {old} before, {new} after" for name, (old, new) in comparison.conditions.items()
    ]
    knees = (
        f"{rate:g} requests/s" if rate else "none" for rate in (comparison.before, comparison.after)
    )
    mark = "worse" if comparison.worse else "no worse"
    ratio = f", ratio {comparison.ratio:.2f}: {mark}" if comparison.ratio is not None else ""
    return [table, *changed, f"knee {' before, '.join(knees)} after{ratio}"]
