"""`flyobj data`: make, clean and look at data sets."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.next_steps import after_prepare, after_suspects
from cli.options import App, GroupRegex, Json, Size, emit
from model.errors import InputError
from model.text import shorten
from report.terminal import new_table

if TYPE_CHECKING:
    from training.data.prepare.summary import Summary

app = App(no_args_is_help=True, help="Make, clean and look at data sets.")

Out = Annotated[Path, typer.Option("--out", help="Folder to make.")]
Copy = Annotated[
    bool, typer.Option("--copy", help="Copy the photos kept; otherwise they are hard links.")
]
Decided = Annotated[
    Path | None,
    typer.Option(help="suspects.csv: relabel, drop and keep photos as it says (docs/labels.md)."),
]
DecidedBy = Annotated[
    str | None, typer.Option(help="Who decided, for the manifest; USER@HOST by default.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if this command made it before.")]


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of class folders, in splits or not.")],
    out: Out,
    copy: Copy = False,
    min_side: Annotated[int, typer.Option(help="Smallest height and width kept, pixels.")] = 32,
    near: Annotated[int, typer.Option(help="Bits of 256 in which near duplicates may differ.")] = 12,
    keep_near: Annotated[
        bool, typer.Option("--keep-near", help="Keep near duplicates, on one side of the split.")
    ] = False,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="Keep thumbnails; skip K-Means.")] = False,
    clusters: Annotated[
        int | None, typer.Option(help="Clusters per class, 2 to 10; without it the elbow decides.")
    ] = None,
    prune_share: Annotated[
        float, typer.Option(help="Drop small photos if less than this of their class is small.")
    ] = 0.02,
    group_regex: GroupRegex = None,
    test_share: Annotated[float, typer.Option(help="Share of test, where SOURCE has no split.")] = 0.2,
    seed: Annotated[int, typer.Option(help="The same seed gives the same manifest.")] = 0,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Process only part I of N, for `merge`.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: all cores.")] = None,
    decisions: Decided = None,
    decided_by: DecidedBy = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Clean, prune and split a pile of photos; writes a manifest, a report and an ImageFolder."""
    from training.data.decisions import read_decisions
    from training.data.prepare import pipeline
    from training.data.prepare.settings import PrepareSettings

    settings = PrepareSettings(
        *(min_side, near, keep_near, not no_prune, clusters, prune_share, group_regex, test_share, seed)
    )
    decided = read_decisions(decisions, decided_by) if decisions else None
    if shard is None:
        options: dict[str, Any] = {"copy": copy, "force": force, "workers": workers}
        made = pipeline.prepare(source, out, settings, **options, decisions=decided)
        _show(made, out, as_json)
        return
    if decided:
        raise InputError("--decisions needs all photos: give it to `flyobj data merge`, not to a shard")
    files = pipeline.prepare_shard(source, out, settings, shard, force=force, workers=workers)
    line = (
        f"shard {shard} in {out}: {files} files; once all are made: flyobj data merge SHARD... --out DIR"
    )
    emit({"out": str(out), "shard": shard, "files": files}, as_json, line)


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(metavar="SHARD...", help="All N shard folders.")],
    out: Out,
    copy: Copy = False,
    decisions: Decided = None,
    decided_by: DecidedBy = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make from all shards what one run of `prepare` would have made."""
    from training.data.decisions import read_decisions
    from training.data.prepare import pipeline

    decided = read_decisions(decisions, decided_by) if decisions else None
    _show(pipeline.merge(shards, out, copy=copy, force=force, decisions=decided), out, as_json)


@app.command()
def suspects(
    data: Annotated[Path, typer.Argument(help="Folder of class folders, in splits or not.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for table and page; by default DATA-suspects."),
    ] = None,
    group_regex: GroupRegex = None,
    run: Annotated[
        Path | None, typer.Option(help="Take the network of this run, not a pre-trained one.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="imagenet (downloads once), or a mobilenet_v2 state dict.")
    ] = "imagenet",
    size: Size = 224,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Fine-tune three times, on all groups but a third.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rank photos by how little their label fits; writes suspects.csv and a page to decide on them.

    What each photo is, models say that haven't seen its group. Decisions in an earlier table are kept.
    """
    from training.data.decisions import default_folder
    from training.suspects.find import Options, find_suspects

    options = Options(group_regex, run, weights, size, thorough)
    found = find_suspects(data, out or default_folder(data), options)
    splits = ", ".join(f"{count} in {name}" for name, count in found.by_split.items())
    line = (
        f"{found.suspects} of {found.photos} photos in {found.groups} groups are suspects ({splits}), "
        f"{found.undecided} undecided; look at {shorten(found.page)}"
    )
    emit(asdict(found), as_json, line, *after_suspects(data, Path(found.table)))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder made by `prepare`.")],
    as_json: Json = False,
) -> None:
    """Draw DIR/report.html again."""
    from training.data.prepare import pipeline

    path = pipeline.report(folder)
    emit({"report": str(path)}, as_json, f"{path}")


@app.command()
def preview(
    data: Annotated[Path, typer.Argument(help="Folder with train/CLASS/ photos.")],
    out: Annotated[Path, typer.Option("--out", help="Picture to write.")] = Path("preview.png"),
    size: Size = 224,
    seed: Annotated[int, typer.Option(help="Another seed draws other photos and samples.")] = 0,
    augment: Annotated[str, typer.Option(help="mission, mild or none, as of `train`.")] = "mild",
    as_json: Json = False,
) -> None:
    """Draw photos next to augmented samples, as training sees them."""
    from training.fit.preview import preview

    n = preview(data, out, size, seed, augment)
    emit({"picture": str(out), "photos": n}, as_json, f"{n} photos in {out}")


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    per_class: Annotated[int, typer.Option(help="Photos per class, train and test together.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    defects: Annotated[
        bool, typer.Option("--defects", help="Mix in what `prepare` looks for; see OUT/defects.csv.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Draw stand-in photos of quadcopters, winged drones and birds, as train/CLASS and test/CLASS."""
    from training.data.synthetic.draw import synthesize

    counts = synthesize(folder, per_class, seed, defects=defects)
    photos = counts["train"] + counts["test"]
    parts = ", ".join(f"{n} {name}" for name, n in counts.items())
    emit(counts, as_json, f"{photos} photos in {folder}: {parts}")


def _show(summary: "Summary", folder: Path, as_json: bool) -> None:
    from training.data.decisions import in_words

    classes = new_table("class", *next(iter(summary["classes"].values())))
    for name, counts in summary["classes"].items():
        classes.add_row(name, *map(str, counts.values()))
    given = summary["given"]
    read = [f"{split} from {folder!r}" for split, folder in given.items()]
    if given and "test" not in given:
        read.append("test of train's photos")
    why = new_table("files", "dropped or noted because")
    for part in ("dropped", "noted"):
        for reason, count in summary[part].items():
            why.add_row(str(count), reason if part == "dropped" else f"{reason} (kept)")
    line = f"{summary['kept']} of {summary['files']} files kept; look at {folder}/report.html"
    warnings = [f"warning: {text}" for text in summary["warnings"]]
    shown = {key: value for key, value in summary.items() if key not in ("clusters", "elbows", "leaks")}
    splits = [f"splits: {', '.join(read)}"] if read else []
    decided = [in_words(summary["decisions"])] if summary["decisions"] else []
    parts = [classes, *splits, why, summary["grouping"], *decided, *warnings, line]
    emit(shown, as_json, *parts, *after_prepare(folder))
