"""Which of two targets is better on labelled photos, and a page with the photos that changed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.answers import UNKNOWN
from model.files import write_json
from report import charts as kit
from report.charts import Chart, Figure
from report.comparison import (
    MARGIN,
    Comparison,
    Flip,
    Labels,
    Said,
    find_flips,
    in_words,
    judge,
    require_known,
)
from report.html import write_html
from report.intervals import SHARE, Interval, mean_interval, sum_groups
from report.paired import Change
from report.pictures import thumbnail
from training.data.photo_groups import number_groups
from training.data.photos import read_split
from training.evaluation.answers import Answers, ask, largest_difference
from training.evaluation.target import Target

PAGE, FIGURES = "comparison.html", "comparison.json"
_SHOWN = 48  # photos in each part of the page
_THUMBNAIL = 240  # pixels of the longer side


@dataclass(frozen=True)
class Facts:
    """What is told of one of them: None, or "", where the target doesn't say."""

    precision: str
    pixels: int | None
    accuracy_95: Interval


@dataclass(frozen=True)
class TargetComparison:
    """What came of asking two targets the same photos; flips are relative to the data folder."""

    new: str
    old: str
    split: str
    skipped: int  # files that can't be read
    comparison: Comparison
    flips: tuple[Flip, ...]
    new_facts: Facts
    old_facts: Facts


@dataclass(frozen=True)
class LabelledPhotos:
    """The photos of a split, with what `report.comparison` needs of them."""

    paths: tuple[Path, ...]
    labels: Labels
    skipped: int


def read_labelled(
    data: Path, split: str, group_regex: str | None, limit: int | None = None
) -> LabelledPhotos:
    """Read the labels and groups of `data/split`, of at most `limit` photos, evenly spread."""
    read = read_split(data, split)
    photos = read.photos[:: max(1, -(-len(read.photos) // limit)) if limit else 1]
    groups, how = number_groups(photos, data, group_regex)
    paths = tuple(photo.path for photo in photos)
    names = [path.relative_to(data).as_posix() for path in paths]
    truth = [read.classes[photo.label] for photo in photos]
    return LabelledPhotos(paths, Labels(names, truth, groups, how), len(read.skipped))


def compare_targets(
    new: Sequence[Target],
    old: Target,
    data: Path,
    split: str = "test",
    group_regex: str | None = None,
    margin: float = MARGIN,
) -> list[TargetComparison]:
    """Ask all targets every photo of `data/split`, and compare each of `new` with `old`.

    Raises:
        InputError: the photos can't be used, or are of a class that neither target knows.
        FlyobjError: a target refuses a photo.
    """
    photos = read_labelled(data, split, group_regex)
    for target in new:
        require_known(photos.labels, (target.classes, old.classes))
    theirs = ask(old, photos.paths, f"asking {old.description}")
    results = []
    for target in new:
        ours = ask(target, photos.paths, f"asking {target.description}")
        said = _said(target, ours), _said(old, theirs)
        apart = largest_difference(target, ours, old, theirs)
        classes = target.classes, old.classes
        comparison = judge(photos.labels, *said, classes, apart, margin)
        facts = _facts(target, photos.labels, said[0]), _facts(old, photos.labels, said[1])
        flips = find_flips(photos.labels, *said)
        names = target.description, old.description, split
        results.append(TargetComparison(*names, photos.skipped, comparison, flips, *facts))
    return results


def _facts(target: Target, labels: Labels, said: Sequence[Said]) -> Facts:
    right = [one.answer == truth for one, truth in zip(said, labels.truth, strict=True)]
    interval = mean_interval(*sum_groups(right, labels.groups), SHARE, (0.0, 1.0))
    if target.spec is None:
        return Facts("", None, interval)
    return Facts(target.spec.precision, target.spec.preprocessing.size, interval)


def publish_comparison(
    result: TargetComparison, data: Path, out: Path, new: str, old: str, rows: Sequence[Any] = (),
    best: Any = None,
) -> Path:  # fmt: skip
    """Write page and figures into `out` and return the page.

    `new` and `old` are short names; `rows` and `best` are of `training.evaluation.costs`, for a table.
    """
    c = result.comparison

    def shown(flips: Sequence[Flip]) -> list[tuple[Flip, str | None]]:
        return [(flip, thumbnail(data / flip.photo, _THUMBNAIL)) for flip in flips[:_SHOWN]]

    others = [flip for flip in result.flips if not (flip.gained or flip.lost)]
    out.mkdir(parents=True, exist_ok=True)
    document = {**asdict(result), **({"models": [asdict(row) for row in rows]} if rows else {})}
    write_json(document, out / FIGURES)
    write_html(
        out / PAGE,
        "training/evaluation/compare.html.j2",
        [Chart("changes", "change of each class", draw_changes(c))],
        c=c,
        new=new,
        old=old,
        split=result.split,
        skipped=result.skipped,
        sentence=in_words(c, new, old),
        rows=rows,
        best=best,
        gained=shown([flip for flip in result.flips if flip.gained]),
        lost=shown([flip for flip in result.flips if flip.lost]),
        others=shown(others),
        n_others=len(others),
        origin={new: result.new, old: result.old, "photos": str(data / result.split)},
    )
    return out / PAGE


def draw_changes(c: Comparison) -> Figure:
    """Draw the difference of all photos and of each class, in points, with its interval."""
    rows: dict[str, Change] = {"all photos": c.all, **c.per_class}
    figure, (axes,) = kit.panels((9, 0.9 + 0.34 * len(rows)))
    for place, (name, row) in enumerate(rows.items()):
        low, high = (100 * end for end in row.interval)
        worse, better = name in c.worse_classes or high < 0, low > 0
        colour = kit.RED if worse else kit.GREEN if better else kit.GREY
        axes.plot((low, high), (place, place), color=colour, alpha=0.4, lw=7, solid_capstyle="round")
        axes.plot(100 * row.difference, place, "o", color=colour, ms=6.5, mec=kit.PAPER, mew=1.2)
    kit.mark(axes, "x", 0, "")
    kit.mark(axes, "x", -100 * c.margin, "margin", ha="right")
    axes.set_yticks(range(len(rows)), [kit.short(name) for name in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.75), xlabel="points of accuracy")
    axes.grid(axis="x")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _said(target: Target, answers: Answers) -> list[Said]:
    best, confidence = answers.probabilities.argmax(1), answers.probabilities.max(1)
    rows: Any = zip(best.tolist(), confidence.tolist(), answers.unknown.tolist(), strict=True)
    names = target.classes
    return [Said(UNKNOWN if unknown else names[i], share) for i, share, unknown in rows]
