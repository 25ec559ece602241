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
class TargetComparison:
    """What came of asking two targets the same photos; flips are relative to the data folder."""

    new: str
    old: str
    split: str
    skipped: int  # files that can't be read
    comparison: Comparison
    flips: tuple[Flip, ...]


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
    new: Target,
    old: Target,
    data: Path,
    split: str = "test",
    group_regex: str | None = None,
    margin: float = MARGIN,
) -> TargetComparison:
    """Ask both targets every photo of `data/split`.

    Raises:
        InputError: the photos can't be used, or are of a class that neither target knows.
        FlyobjError: a target refuses a photo.
    """
    photos = read_labelled(data, split, group_regex)
    require_known(photos.labels, (new.classes, old.classes))
    ours, theirs = (ask(target, photos.paths, f"asking {target.description}") for target in (new, old))
    said = _said(new, ours), _said(old, theirs)
    apart = largest_difference(new, ours, old, theirs)
    comparison = judge(photos.labels, *said, (new.classes, old.classes), apart, margin)
    flips = find_flips(photos.labels, *said)
    return TargetComparison(new.description, old.description, split, photos.skipped, comparison, flips)


def publish_comparison(result: TargetComparison, data: Path, out: Path, new: str, old: str) -> Path:
    """Write page and figures into `out` and return the page; `new` and `old` are short names."""
    c = result.comparison

    def shown(flips: Sequence[Flip]) -> list[tuple[Flip, str | None]]:
        return [(flip, thumbnail(data / flip.photo, _THUMBNAIL)) for flip in flips[:_SHOWN]]

    others = [flip for flip in result.flips if not (flip.gained or flip.lost)]
    out.mkdir(parents=True, exist_ok=True)
    write_json(asdict(result), out / FIGURES)
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
