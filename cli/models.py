"""`flyobj models`: versions on a running server."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import fleet
from cli.evaluation import DEFAULT_MARGIN, Groups, Margin
from cli.next_steps import after_deploy
from cli.options import (
    DEFAULT_TIMEOUT,
    DEFAULT_WAIT,
    App,
    Home,
    Json,
    Timeout,
    Wait,
    connect,
    emit,
    require_server,
)
from cli.store import list_archives
from cli.version_tables import flatten, show_shadow, version_table
from report.terminal import new_table

if TYPE_CHECKING:
    from report.comparison import Labels

app = App(no_args_is_help=True, help="Versions of the model on a running server.")

Version = Annotated[str, typer.Argument(help="A deployed version.")]
Photos = Annotated[Path | None, typer.Option(help="Folder of photos, with its subfolders.")]
Data = Annotated[Path | None, typer.Option(help="Data folder; its test photos are used.")]


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """List the versions, their workers, and which one is the default."""
    from serving.server.versions import list_versions

    with connect(home) as client:
        versions = [asdict(v) for v in list_versions(client)]
    emit(versions, as_json, version_table(versions))


@app.command()
def show(version: Version, home: Home = None, as_json: Json = False) -> None:
    """Show a version: workers, batching, archive, what its model says about itself."""
    from model.errors import InputError
    from serving.server.versions import find_version

    with connect(home) as client:
        found = find_version(client, version)
        if found is None:
            see = client.command("models list")
            raise InputError(f"version {version!r} isn't on the server; see `{see}`")
        model = client.describe(version) if found.ready else None
    document = {**asdict(found), "model": model}
    table = new_table(show_header=False)
    for key, value in flatten({**asdict(found), **(model or {})}):
        table.add_row(key, value)
    emit(document, as_json, table)


@app.command()
def deploy(
    archive: Annotated[
        str | None,
        typer.Argument(
            help=".mar of `flyobj archive`, a file's name in the model store, or s3://BUCKET/KEY.mar; "
            "without it those in the store are listed."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; one for each core by default, as memory allows."),
    ] = None,
    home: Home = None,
    wait: Wait = DEFAULT_WAIT,
    as_json: Json = False,
) -> None:
    """Register an archive, wait for its workers, check its answers. The first becomes the default.

    One in S3 is downloaded into the model store; a download that was cut off resumes where it ended.
    """
    from serving.rollout.classes import compare_classes
    from serving.rollout.deployment import read_deployment
    from serving.rollout.operations import deploy, remove_unused
    from serving.rollout.store import find_archive

    with connect(home) as client:
        if archive is None:
            list_archives(client, as_json)
        fetched = False
        if "://" in archive:
            from serving.archive.s3 import fetch

            fetched = not (client.store / Path(archive).name).exists()
            path = fetch(archive, client.store)
        else:
            path = find_archive(archive, client.store)
        try:
            version = deploy(client, path, workers, wait)
        except BaseException:
            if fetched:
                remove_unused(path)
            raise
        deployment = read_deployment(client.store)
        change = compare_classes(client, deployment, version.version, deployment.default)
        then = [] if as_json else after_deploy(client, version)
    line = f"version {version.version} is ready with {version.ready} workers"
    document = {**asdict(version), "classes_gained": change.gained, "classes_lost": change.lost}
    emit(document, as_json, line, *([f"warning: {change}"] if str(change) else []), *then)


@app.command()
def promote(
    version: Version,
    photos: Photos = None,
    data: Data = None,
    if_agree: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Only if it answers this share of photos as the default does."),
    ] = None,
    if_better: Annotated[
        bool,
        typer.Option(
            "--if-better",
            help="Only if it is better than the default on labelled photos (--data), or not worse by "
            "more than the margin, and no class is worse.",
        ),
    ] = False,
    margin: Margin = DEFAULT_MARGIN,
    group_regex: Groups = None,
    max_p99_ratio: Annotated[
        float | None,
        typer.Option(min=0, help="Only if its p99 is at most this many times the default's."),
    ] = None,
    drop_class: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="A class of the default that it may lack; can be given several times.",
        ),
    ] = None,
    home: Home = None,
    wait: Wait = DEFAULT_WAIT,
    as_json: Json = False,
) -> None:
    """Let requests that name no version go to this one; `rollback` undoes it."""
    from model.errors import InputError
    from serving.rollout import shadow
    from serving.rollout.operations import promote

    conditions = if_agree is not None or max_p99_ratio is not None or if_better
    if conditions != bool(photos or data):
        raise InputError(
            "--if-agree, --if-better and --max-p99-ratio need --photos or --data, and the reverse"
        )
    if if_better and not data:
        raise InputError("--if-better needs labelled photos; give --data DIR")
    said = ""
    with connect(home) as client:
        if conditions and client.default_version() != version:
            paths, labels = _find_photos(photos, data, group_regex=group_regex)
            comparison = shadow.compare(client, version, None, paths, labels, margin)
            shadow.require(comparison, if_agree, max_p99_ratio)
            if if_better:
                shadow.require_better(comparison)
                said = f": {shadow.verdict(comparison)}"
        promote(client, version, wait, drop_class or ())
    emit({"default": version}, as_json, f"version {version} is the default{said}")


@app.command()
def shadow(
    version: Version,
    photos: Photos = None,
    data: Data = None,
    against: Annotated[
        str | None, typer.Option(help="Version to compare with; by default the default one.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Send this many photos, evenly spread over the folder.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="HTML file to write, with the photos.")] = None,
    margin: Margin = DEFAULT_MARGIN,
    group_regex: Groups = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Send the same photos to two versions: where do they differ, and which one is slower?

    With --data, whose photos are labelled, also: who is right, and which version is better?
    """
    from serving.rollout import shadow

    with connect(home) as client:
        paths, labels = _find_photos(photos, data, limit, group_regex)
        comparison = shadow.compare(client, version, against, paths, labels, margin)
    if page:
        shadow.write_page(comparison, page)
    emit(asdict(comparison), as_json, *show_shadow(comparison))


@app.command()
def rollback(home: Home = None, wait: Wait = DEFAULT_WAIT, as_json: Json = False) -> None:
    """Make the version that was the default before the last `promote` the default again."""
    from serving.rollout.operations import rollback

    with connect(home) as client:
        version = rollback(client, wait)
    emit({"default": version}, as_json, f"version {version} is the default again")


@app.command()
def scale(
    version: Version,
    workers: Annotated[int, typer.Argument(min=1, help="Processes.")],
    home: Home = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    wait: Wait = DEFAULT_WAIT,
    as_json: Json = False,
) -> None:
    """Give a version more or fewer workers; none is taken away while it has a request."""
    from serving.rollout.operations import scale

    with connect(home) as client:
        found = scale(client, version, workers, timeout, wait)
    emit(asdict(found), as_json, f"version {version} has {found.ready} workers")


@app.command()
def retire(
    version: Version,
    home: Home = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    wait: Wait = DEFAULT_WAIT,
    as_json: Json = False,
) -> None:
    """Remove a version that isn't the default, once no request waits for it. Its archive stays."""
    from serving.rollout.operations import retire

    with connect(home) as client:
        retire(client, version, timeout, wait)
    emit({"retired": version}, as_json, f"version {version} is gone; its archive stays in the store")


app.command()(fleet.diff)
app.command()(fleet.apply)


@app.command()
def history(home: Home = None, as_json: Json = False) -> None:
    """List what was done to the versions, when and by whom."""
    from serving.rollout.history import read_history

    store = Path(require_server(home).model_store)
    entries = [asdict(entry) for entry in read_history(store)]
    table = new_table("time (UTC)", "operation", "version", "outcome", "who")
    for e in entries:
        table.add_row(e["time"][:19], e["operation"], e["version"] or "", e["outcome"], e["who"])
    emit(entries, as_json, table)


def _find_photos(
    photos: Path | None, data: Path | None, limit: int | None = None, group_regex: str | None = None
) -> tuple[Sequence[Path], "Labels | None"]:
    """List the photos to send; those of a data folder have labels."""
    from model.errors import InputError
    from model.photo_files import find_photos

    if (photos is None) == (data is None):
        raise InputError("give either --photos DIR or --data DIR")
    if data is None:
        return find_photos(Path(str(photos)), limit), None
    from training.evaluation.compare import read_labelled

    read = read_labelled(data, "test", group_regex, limit)
    return read.paths, replace(read.labels, photos=[str(path) for path in read.paths])
