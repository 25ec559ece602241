"""`flyobj predict`: one photo, or whole folders."""

import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import App, Home, Json, ServerUrl, connect, emit
from report.terminal import new_table, styled

if TYPE_CHECKING:
    from serving.batch.classify import BatchSummary
    from serving.batch.models import BatchModel

SHOWN = 40  # photos in a terminal's table

app = App()


@app.command()
def predict(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO|DIR...", help="Image files, folders of them, - for a pipe."),
    ],
    run: Annotated[
        Path | None, typer.Option(help="Answer with this run or bundle in all cores, without a server.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Answer with this .mar in all cores, without a server.")
    ] = None,
    server: ServerUrl = None,
    version: Annotated[
        str | None, typer.Option(help="A version of the server other than the default.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a row for each photo; - is standard output.")
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(help="Write a JSON document a line for each photo; - is standard output."),
    ] = None,
    sort_into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Link each photo to DIR/CLASS/.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy to DIR/CLASS/ instead of linking.")] = False,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Give only the K highest probabilities.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a CSV or JSONL file instead of continuing it.")
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Classify photos and folders, with the running server, or without one.

    Started again with the same files, it continues where it was stopped. Photos in a folder that can't
    be read are rows with a reason; the exit code is 2 if a photo named by itself can't be answered, or
    none can.
    """
    from model.errors import InputError
    from serving.batch.classify import BatchOptions, classify
    from serving.batch.photos import find_sources

    if sum(option is not None for option in (run, archive, version or server)) > 1:
        raise InputError(
            "--run, --archive and --server or --version (of the server) exclude one another; give one"
        )
    if copy and sort_into is None:
        raise InputError("--copy needs --sort-into DIR")
    if as_json and Path("-") in (csv, jsonl):
        raise InputError("--json and a file called - both are standard output; leave one out")
    if csv is not None and csv == jsonl:
        raise InputError(f"--csv and --jsonl are both {str(csv)!r}; name two files")
    found = find_sources(photos)
    options = BatchOptions(csv, jsonl, force, sort_into, copy, top_k)
    with ExitStack() as stack:
        try:
            summary = classify(
                _open(stack, run, archive, server, version, home, len(found.photos)), found, options
            )
        except BrokenPipeError:  # as in `--csv - | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
    quiet = Path("-") in (csv, jsonl)
    if not quiet:
        emit(_document(summary), as_json, *_show(summary))
    if summary.named_errors or summary.errors == summary.photos:
        raise InputError(f"{summary.errors} of {summary.photos} photos can't be answered")


def _open(
    stack: ExitStack,
    run: Path | None,
    archive: Path | None,
    server: str | None,
    version: str | None,
    home: Path | None,
    photos: int,
) -> "BatchModel":
    """Open what answers."""
    from model.run_folder import find_bundle
    from serving.batch.models import ServedModel, open_packed, open_run

    if archive is not None:
        return stack.enter_context(open_packed(archive))
    if run is not None:
        return stack.enter_context(open_run(find_bundle(run), photos))
    if server is not None:
        from cli.targets import connect_to

        client, named = stack.enter_context(connect_to(server, home))
        return ServedModel(client, version or named)
    return ServedModel(stack.enter_context(connect(home)), version)


def _document(summary: "BatchSummary") -> Any:
    """The answers as the server gives them, or what was written."""
    if summary.rows:
        extra = ("runner_up", "sha256", "model")
        return [{key: row[key] for key in row if key not in extra} for row in summary.rows]
    return {key: value for key, value in asdict(summary).items() if key != "rows"}


def _show(summary: "BatchSummary") -> list[Any]:
    from serving.batch.output import is_close

    table = new_table("photo", "answer", "confidence", "runner-up", "version")
    for row in summary.rows[:SHOWN]:
        name = row["photo"]
        if "error" in row:
            table.add_row(name, styled(row["error"], "red"))
        else:
            second = row["runner_up"]
            if second in row["probabilities"]:  # not with --top-k 1
                second += f" {row['probabilities'][second]:.3f}"
            close = styled(f"{second}, close", "yellow") if is_close(row) else second
            answer = row["predicted"], f"{row['confidence']:.3f}"
            table.add_row(name, *answer, close, row.get("model_version", ""))
    shown: list[Any] = [table]
    if close := sum(map(is_close, summary.rows)):
        shown.append(f"close ({close}): the runner-up is at least half as probable as the answer")
    if (more := len(summary.rows) - SHOWN) > 0:
        shown.append(f"and {more} more; --csv FILE writes them all")
    if summary.photos > 1:
        counts = ", ".join(f"{name} {n:,}" for name, n in summary.classes.most_common())
        rate = (
            f" in {summary.seconds:.1f} s, {summary.photos_per_s:.3g}/s" if summary.photos_per_s else ""
        )
        parts = [counts, f"{summary.errors:,} can't be answered" if summary.errors else ""]
        parts += [f"{summary.others:,} other files left out" if summary.others else ""]
        line = "; ".join([f"{summary.photos:,} photos{rate}", *filter(None, parts)])
        shown.append(line)
    return shown
