"""`flyobj evaluate` and `compare`."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.next_steps import after_evaluate
from cli.options import App, Home, Json, emit
from report.terminal import Table, new_table, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from report.comparison import Comparison
    from training.evaluation.costs import Row
    from training.evaluation.evaluate import Evaluation

app = App()

Data = Annotated[
    Path | None,
    typer.Option(help="Folder with the split's CLASS/ photos; for a run, what it was trained with."),
]
Margin = Annotated[float, typer.Option(help="A loss of accuracy up to this still is not worse.")]
DEFAULT_MARGIN = 0.005
Groups = Annotated[
    str | None,
    typer.Option(
        help=r"Files in whose names it matches the same text are one group: '^(.+)_f\d+'; '' for no "
        "groups. By default the run's, or names and times tell."
    ),
]


@app.command()
def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ARCHIVE|URL",
            help="Run folder, bundle, .mar, version on the server, http://HOST:PORT/predictions/NAME.",
        ),
    ],
    data: Data = None,
    split: Annotated[str, typer.Option(help="Which folder of DATA.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option(help="For report and pictures; for a run and its own photos, RUN/evaluation."),
    ] = None,
    group_regex: Groups = None,
    unknown: Annotated[
        Path | None, typer.Option(help="Folder of photos that belong to none of the classes.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET",
            help="Must give the same answers, such as the run's archive; can be given several times.",
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="The model's licence, as Hugging Face names it.")
    ] = "unknown",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an evaluation in OUT.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle, an archive or a running server on photos the model hasn't seen.

    Draws a report with the mistakes. With --against the exit code is 1 if the answers differ; which of
    two models is better, `compare` says.
    """
    from cli.targets import open_target
    from model.files import write_json
    from report.progress import say
    from training.evaluation.answers import require_agreement
    from training.evaluation.evaluate import evaluate
    from training.evaluation.history import History, is_own_data, read_history
    from training.evaluation.publish import PAGE, check_folder, publish

    run = Path(target) if (Path(target) / "bundle" / "model.json").exists() else None
    place = run / ("evaluation" if split == "test" else f"evaluation-{split}") if run else None
    asked = place is not None and out is not None and out.resolve() == place.resolve()
    own = run is not None and (asked or is_own_data(data, run))
    if out:
        check_folder(out, force)
    elif place and own:
        out = place
        check_folder(out, force=True)
    if run and not own:
        say(
            f"{str(run)!r} was trained with another folder, so these figures don't become its own; "
            f"--out {place} --force makes them so"
        )
    history = read_history(run) if run else History()
    if group_regex is None:
        group_regex = history.settings.get("group_regex")
    with ExitStack() as stack:
        opened = stack.enter_context(open_target(target, home))
        others = [stack.enter_context(open_target(name, home)) for name in against or []]
        data = data or _data_of(target)
        result = evaluate(opened, data, split, group_regex, unknown, others)
        if out:
            publish(result, opened, history, out, title=_title(target), data=data, licence=licence)
    if run and own and split == "test":
        write_json(result.figures(), run / "bundle" / "metrics.json")
    see = f"; look at {out / PAGE}" if out else "; --out DIR draws a report"
    then = after_evaluate(run) if run else []
    emit(asdict(result), as_json, _table(result), *_lines(result, see), *then)
    require_agreement(result.target, result.agreement)


@app.command()
def compare(
    new: Annotated[
        str,
        typer.Argument(metavar="A", help="Run, bundle, .mar, version on the server, URL: is it better"),
    ],
    old: Annotated[str, typer.Argument(metavar="B", help="than this one?")],
    data: Data = None,
    split: Annotated[str, typer.Option(help="Which folder of DATA.")] = "test",
    margin: Margin = DEFAULT_MARGIN,
    group_regex: Groups = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="C", help="Also compare C with B; can be given several times."),
    ] = None,
    costs: Annotated[
        bool, typer.Option("--costs", help="Measure CPU time and size of the runs among them.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; for a run A, A/comparison.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a comparison in OUT.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say which of two models is better on labelled photos, or how many more photos that takes.

    The exit code is 1 if A is worse, for all photos or for a class, or if these photos can't tell.
    """
    from cli.targets import open_target
    from report.comparison import require_acceptable
    from training.data.photos import read_split
    from training.evaluation.compare import compare_targets, publish_comparison
    from training.evaluation.costs import cheapest, measure_costs, table_of
    from training.evaluation.history import read_history
    from training.evaluation.publish import check_folder

    run = Path(new) if (Path(new) / "bundle" / "model.json").is_file() else None
    if out:
        check_folder(out, force)
    elif run:
        out = run / "comparison"
        check_folder(out, force=True)
    if group_regex is None and run:
        group_regex = read_history(run).settings.get("group_regex")
    every = [new, *(beside or [])]
    with ExitStack() as stack:
        ours, theirs = (
            [stack.enter_context(open_target(name, home)) for name in some] for some in (every, [old])
        )
        data = data or _data_of(*every, old)
        results = compare_targets(ours, theirs[0], data, split, group_regex, margin)
    names = [_title(name) for name in (*every, old)]
    if len({*names}) < len(names):
        names = [*every, old]
    rows, best = [], None
    if beside or costs:
        places = dict(zip(names, map(Path, (*every, old)), strict=True))
        runs = {name: place for name, place in places.items() if place.is_dir()} if costs else {}
        photos = [photo.path for photo in read_split(data, split).photos] if runs else []
        measured = measure_costs(runs, photos) if runs else {}
        rows = table_of(dict(zip(names, results, strict=False)), names[-1], measured)
        best = cheapest(rows)
    result, shown = results[0], (names[0], names[-1])
    page = publish_comparison(result, data, out, *shown, rows, best) if out else None
    see = f"look at {page}" if page else "--out DIR draws a page"
    table = [_show_models(rows)] if rows else []
    told = [f"{best.name} is the cheapest that isn't worse than {names[-1]}"] if best else []
    if best and best.comparison is None:
        told = [f"no cheaper model is shown to be as good as {best.name}"]
    document = {**asdict(result), **({"models": [asdict(row) for row in rows]} if rows else {})}
    emit(document, as_json, *table, *show_comparison(result.comparison, *shown), *told, see)
    require_acceptable(result.comparison, *shown)


def _show_models(rows: "Sequence[Row]") -> Table:
    columns = ("model", "precision", "pixels", "accuracy (95 %)", "verdict", "losing", "CPU-ms", "MiB")
    table = new_table(*columns)
    for row in rows:
        low, high = row.accuracy_95
        losing = ", ".join(f"{name} {100 * change:+.1f}" for name, change in row.losing)
        cost = (f"{row.cost.cpu_ms:.2f}", f"{row.cost.mib:.1f}") if row.cost else ("", "")
        facts = (
            f"{row.accuracy:.3f} ({low:.2f} to {high:.2f})",
            row.comparison.verdict if row.comparison else "",
        )
        table.add_row(row.name, row.precision, str(row.pixels or ""), *facts, losing, *cost)
    return table


def show_comparison(c: "Comparison", new: str, old: str) -> list[Table | str]:
    """Lay out a comparison on labelled photos for people."""
    from report.comparison import figures, in_words

    table = new_table("class", old, new, "gained", "lost", "points (95 %)", "photos", "groups")
    for name, row in c.per_class.items():
        low, high = (100 * end for end in row.interval)
        points = f"{100 * row.difference:+.1f} ({low:+.1f} to {high:+.1f})"
        facts = f"{row.old:.3f}", f"{row.new:.3f}", str(row.gained), str(row.lost), points
        label = styled(name, "red" if name in c.worse_classes else "")
        table.add_row(label, *facts, str(row.photos), str(row.groups))
    lines = [
        f"{there} doesn't know {', '.join(names)}"
        for there, names in ((new, c.only_old), (old, c.only_new))
        if names
    ]
    return [table, *lines, figures(c), in_words(c, new, old)]


def _data_of(*targets: str) -> Path:
    """Find the data that the first run among the targets was trained with, and say so."""
    from model.errors import InputError
    from model.run_folder import find_bundle
    from report.progress import say
    from training.evaluation.history import data_of

    for target in (Path(name) for name in targets if Path(name).is_dir()):
        bundle = find_bundle(target)
        if data := data_of(bundle.parent):
            if not data.is_dir():
                raise InputError(
                    f"{str(target)!r} was trained with {str(data)!r}, which isn't there any more; give "
                    "--data DIR, a folder with test/CLASS/ photos"
                )
            say(f"with the photos of {str(data)!r}, as {str(target)!r} was trained with them")
            return data
    raise InputError(
        f"{targets[0]!r} doesn't say which photos to use; give --data DIR, a folder with test/CLASS/ "
        "photos"
    )


def _title(target: str) -> str:
    """Name what is evaluated, for the page and the card."""
    if "://" in target:
        return target
    path = Path(target).resolve()
    return path.stem if path.is_file() else (path.parent.name if path.name == "bundle" else path.name)


def _table(result: "Evaluation") -> Table:
    table = new_table("class", "precision", "recall", "F1", "photos", title=f"{result.split} photos")
    for name, row in result.per_class.items():
        figures = []
        for key in ("precision", "recall", "f1"):
            low, high = getattr(row, f"{key}_95")
            figures.append(f"{getattr(row, key):.3f} ({low:.2f} to {high:.2f})")
        table.add_row(name, *figures, str(row.photos))
    return table


def _lines(result: "Evaluation", see: str) -> list[str]:
    low, high = result.accuracy_95
    before = f" ({result.uncalibrated.ece:.3f} without temperature)" if result.uncalibrated else ""
    lines = [f"calibration error {result.reliability.ece:.3f}{before}"]
    if absent := result.absent:
        lines.insert(0, f"no photos of {', '.join(absent)} in {result.split}: nothing is known of them")
    if result.unknown:
        lines.append(f'{result.unknown} of {result.photos} photos are answered "unknown"')
    if s := result.out_of_distribution:
        lines.append(
            f'{s.unknown} of {s.photos} photos of no known class are answered "unknown"; '
            f"{s.by} tells them apart with an AUROC of {s.auroc:.3f}, and keeping 95 % of "
            f"the {result.split} photos takes {100 * s.taken:.0f} % of them for known ones"
        )
    for a in result.agreement:
        verdict = "the same answers as" if a.agrees else "answers differ from"
        lines.append(
            f"{verdict} {a.target}: up to {a.largest_difference:.2g} apart, {len(a.flips)} flips"
        )
    if c := result.labels:
        low_, high_ = c.without_95
        lines.append(
            f"labels decided to be wrong: {c.wrong} ({c.dropped} of no class, {c.gone} of these gone); "
            f"accuracy with them as they were labelled {c.as_labelled:.3f}, as decided {c.mended:.3f}, "
            f"without them {c.without:.3f} ({low_:.3f} to {high_:.3f}, {c.without_photos} photos)"
        )
    lines.append(
        f"accuracy {result.accuracy:.3f} (95 %: {low:.3f} to {high:.3f}, over {result.intervals_over})"
    )
    lines[-1] += see
    return lines
