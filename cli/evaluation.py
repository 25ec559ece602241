"""`flyobj evaluate` and `calibrate`."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Home, Json, emit
from report.terminal import Table, new_table
from serving.names import DEFAULT_HOME

if TYPE_CHECKING:
    from training.evaluation.evaluate import Evaluation

app = typer.Typer()


@app.command()
def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RUN|ARCHIVE|URL",
            help="Run folder, bundle, .mar, http://HOST:PORT or .../predictions/NAME/VERSION.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with the split's CLASS/ photos.")],
    split: Annotated[str, typer.Option(help="Which folder of DATA.")] = "test",
    out: Annotated[
        Path | None, typer.Option(help="Folder for report and pictures; for a run, RUN/evaluation.")
    ] = None,
    group_regex: Annotated[
        str | None,
        typer.Option(
            help=r"Files in whose names it matches the same text are one group: '^(.+)_f\d+'; "
            "for a run, the one it was trained with."
        ),
    ] = None,
    unknown: Annotated[
        Path | None, typer.Option(help="Folder of photos that belong to none of the classes.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="TARGET", help="Must answer the same; can be given several times."),
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="The model's licence, as Hugging Face names it.")
    ] = "unknown",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an evaluation in OUT.")] = False,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Measure a bundle, an archive or a running server on photos the model hasn't seen.

    Draws a report with the mistakes. With --against the exit code is 1 if the answers differ.
    """
    from cli.targets import open_target
    from model.files import write_json
    from training.evaluation.answers import require_agreement
    from training.evaluation.evaluate import evaluate
    from training.evaluation.history import History, read_history
    from training.evaluation.publish import PAGE, check_folder, publish

    run = Path(target) if (Path(target) / "bundle" / "model.json").exists() else None
    if out:
        check_folder(out, force)
    elif run:
        out = run / ("evaluation" if split == "test" else f"evaluation-{split}")
        check_folder(out, force=True)
    history = read_history(run) if run else History()
    if group_regex is None:
        group_regex = history.settings.get("group_regex")
    with ExitStack() as stack:
        opened = stack.enter_context(open_target(target, home))
        others = [stack.enter_context(open_target(name, home)) for name in against or []]
        result = evaluate(opened, data, split, group_regex, unknown, others)
        if out:
            publish(result, opened, history, out, title=_title(target), data=data, licence=licence)
    if run and split == "test":
        write_json(result.figures(), run / "bundle" / "metrics.json")
    see = f"; look at {out / PAGE}" if out else "; --out DIR draws a report"
    emit(asdict(result), as_json, _table(result), *_lines(result, see))
    require_agreement(result.target, result.agreement)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder of `flyobj train`.")],
    reject_rate: Annotated[
        float | None,
        typer.Option(help='Answer "unknown" rather than this share of validation photos; 0.02, say.'),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder the run was trained on, if it has moved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fit the temperature on validation photos; with --reject-rate, the threshold of "unknown"."""
    from training.calibrate import recalibrate

    fit = recalibrate(run, data, reject_rate)
    how = f" ({fit.note})" if fit.note else ""
    lines = [
        f"temperature {fit.temperature:.3f}{how}; calibration error on {fit.photos} validation "
        f"photos {fit.ece_before:.3f} before, {fit.ece:.3f} now"
    ]
    if fit.reject_below is not None:
        lines.append(
            f'"unknown" below a confidence of {fit.reject_below:.3f}, '
            f"{fit.rejected} of the validation photos"
        )
    lines.append("archives made before stay as they are; package and evaluate the run again")
    emit(asdict(fit), as_json, *lines)


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
    if result.unknown:
        lines.append(f'{result.unknown} of {result.photos} photos are answered "unknown"')
    if s := result.out_of_distribution:
        lines.append(
            f'{s.unknown} of {s.photos} photos of no known class are answered "unknown"; confidence '
            f"tells them apart with an AUROC of {s.auroc:.3f}"
        )
    for a in result.agreement:
        verdict = "the same answers as" if a.agrees else "answers differ from"
        lines.append(
            f"{verdict} {a.target}: up to {a.largest_difference:.2g} apart, {len(a.flips)} flips"
        )
    lines.append(
        f"accuracy {result.accuracy:.3f} (95 %: {low:.3f} to {high:.3f}, over {result.intervals_over})"
    )
    lines[-1] += see
    return lines
