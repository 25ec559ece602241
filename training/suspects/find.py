"""`flyobj data suspects`: rank all photos of a folder by how little their label fits, and say why.

The order is that of `evidence`. Into it come photos that are like none of the classes, and photos
of which another class has a copy.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from model.errors import InputError
from model.files import writing
from report.intervals import Floats, Ints
from report.progress import progress, say
from report.tables import write_csv
from training.data.decisions import HEADER, RELABEL, SUSPECTS, Suspect, read_suspects
from training.data.prepare.near import Pairs, near_pairs
from training.data.prepare.settings import PrepareSettings
from training.suspects.collect import Extractor, Photos, collect
from training.suspects.evidence import Evidence, weigh
from training.suspects.groups import find_neighbours, find_units
from training.suspects.left_out import find_axes, measure_strangeness, score_left_out
from training.suspects.page import PAGE, Shown, write_page
from training.suspects.thorough import score_fine_tuned

FENCE = 1.5  # interquartile ranges above the upper quartile: Tukey, "Exploratory Data Analysis", 1977
COPY_MARGIN = 1.0  # log-odds that a photo has at least if another class has a copy of it
SHOWN = 2000  # photos with thumbnails, the most suspect
NEIGHBOURS = 4  # of the given and of the suggested class


@dataclass(frozen=True)
class Options:
    """`weights` and `size` are for the network that is taken without a `run`."""

    group_regex: str | None = None
    run: Path | None = None
    weights: str = "imagenet"
    size: int = 224
    thorough: bool = False


@dataclass(frozen=True)
class Report:
    """What was found; `by_split` counts suspects, `unjudged` photos of classes in too few groups.

    `left_out` counts files that are no photos, or in no class.
    """

    table: str
    page: str
    photos: int
    groups: int
    suspects: int
    undecided: int
    by_split: dict[str, int]
    unjudged: int
    lost_decisions: int
    left_out: int
    network: str


def find_suspects(data: Path, out: Path, options: Options) -> Report:
    """Judge every photo of `data`, and write table and page into the folder `out`.

    Decisions of an earlier table there are kept.

    Raises:
        InputError: the folder, the options or what is in `out` doesn't do, or all photos are one group.
    """
    PrepareSettings(group_regex=options.group_regex)
    earlier = _earlier(data, out)
    photos = collect(data, Extractor(options.weights, options.run, options.size))
    labels = np.array([photos.classes.index(row.class_name) for row in photos.rows], np.int64)
    near = _near_copies(photos)
    units = find_units(data, photos.rows, near, options.group_regex, photos.features)
    if units.max() == 0:
        raise InputError(
            f"all {len(units)} photos of {str(data)!r} are one group, so no model can learn "
            "from others; give another --group-regex, or '' if they don't belong together"
        )
    with progress("comparing labels with what models say"):
        basis = find_axes(photos.features)
        strange = _strangeness(measure_strangeness(photos.features, basis, labels))
        if options.thorough:
            scores = [score_fine_tuned(photos, labels, units, options.weights, options.size)]
        else:
            scores = score_left_out(photos.features, basis, labels, units)
        evidence = weigh(scores, labels, units)
    copies = _copies_elsewhere(near, labels)
    rank = _rank(evidence, strange, copies)
    order = np.argsort(-rank, kind="stable")
    likely = [i for i in order[: evidence.likely_wrong].tolist() if np.isfinite(rank[i])]
    flagged = {*likely, *copies, *np.flatnonzero(strange > 0).tolist()}
    reasons = _Reasons(photos, labels, units, evidence, strange, copies)
    table = [
        _line(photos, i, rank[i], evidence, reasons.of(i) if i in flagged else "", earlier)
        for i in order.tolist()
    ]
    with progress("writing table and page"), writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_csv(out / SUSPECTS, HEADER, ([*asdict(line).values()] for line in table))
        shown = _neighbours(photos, labels, units, evidence, order[:SHOWN])
        write_page(out, photos, table, shown)
    return _report(photos, units, table, evidence, earlier, out)


def _earlier(data: Path, out: Path) -> dict[str, str]:
    """Read the decisions of a table that is there already, by path."""
    inside, outside = out.resolve(), data.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise InputError(f"{str(out)!r} and {str(data)!r} contain one another; name another --out")
    if (out / SUSPECTS).is_file():
        found = [line for line in read_suspects(out / SUSPECTS) if line.decision]
        return {s.path: s.suggested if s.decision == RELABEL else s.decision for s in found}
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{str(out)!r} exists already and has no {SUSPECTS}; name another --out")
    return {}


def _near_copies(photos: Photos) -> Pairs:
    """Find pairs of near duplicates, (M, 2) places of photos."""
    hashed = np.array([i for i, row in enumerate(photos.rows) if row.phash], np.int64)
    pairs = near_pairs([photos.rows[i].phash for i in hashed], PrepareSettings().near)
    return np.asarray(hashed[pairs]) if len(pairs) else pairs


def _copies_elsewhere(near: Pairs, labels: Ints) -> dict[int, int]:
    """Find for each photo a near duplicate with another label."""
    found: dict[int, int] = {}
    for one, two in near[labels[near[:, 0]] != labels[near[:, 1]]].tolist():
        found.setdefault(one, two)
        found.setdefault(two, one)
    return found


def _strangeness(distances: Floats) -> Floats:
    """How far beyond Tukey's upper fence log-odds of distances are, in interquartile ranges."""
    bounded = np.clip(distances, 1e-6, 1 - 1e-6)
    odds = np.log(bounded / (1 - bounded))
    low, high = np.quantile(odds, (0.25, 0.75))
    return np.asarray((odds - high) / max(high - low, 1e-9) - FENCE)


def _rank(evidence: Evidence, strange: Floats, copies: dict[int, int]) -> Floats:
    rank = evidence.margin.copy()
    both = [*copies]
    rank[both] = np.maximum(rank[both], COPY_MARGIN)
    far = strange > 0
    rank[far] = np.maximum(rank[far], 10 * strange[far])
    return rank


def _line(
    photos: Photos, i: int, rank: float, evidence: Evidence, reason: str, earlier: dict[str, str]
) -> Suspect:
    row = photos.rows[i]
    score = f"{rank:.4f}" if np.isfinite(rank) else ""
    suggested = photos.classes[evidence.suggested[i]]
    return Suspect(row.path, row.class_name, suggested, score, reason, earlier.get(row.path, ""))


def _neighbours(
    photos: Photos, labels: Ints, units: Ints, evidence: Evidence, first: Ints
) -> list[Shown]:
    """Find the nearest photos of the given and of the suggested class for the first photos."""
    near = [
        find_neighbours(photos.features, labels, units, first, wanted[first], NEIGHBOURS)
        for wanted in (labels, evidence.suggested)
    ]
    return [Shown(*row) for row in zip(first.tolist(), *near, strict=True)]


class _Reasons:
    """Says in words why a photo is suspect."""

    def __init__(
        self,
        photos: Photos,
        labels: Ints,
        units: Ints,
        evidence: Evidence,
        strange: Floats,
        copies: dict[int, int],
    ) -> None:
        self._rows, self._classes = photos.rows, photos.classes
        self._labels, self._units, self._evidence = labels, units, evidence
        self._strange, self._copies = strange, copies
        self._members: dict[int, list[int]] = defaultdict(list)
        for photo, unit in enumerate(units.tolist()):
            self._members[unit].append(photo)

    def of(self, i: int) -> str:
        """Name what speaks most against the label of photo `i`."""
        if i in self._copies:
            other = self._rows[self._copies[i]]
            return f"nearly the same as {other.path}, which is {other.class_name}"
        if self._strange[i] > 0:
            return "unlike the other photos of any class"
        suggested = self._evidence.suggested[i]
        name = self._classes[suggested]
        others = [j for j in self._members[int(self._units[i])] if j != i]
        agreeing = sum(int(self._labels[j] == suggested) for j in others)
        if 2 * agreeing > len(others):
            return f"{agreeing} of {len(others)} other photos of its group are {name}"
        group = f", and so does its group of {len(others) + 1}" if others else ""
        return f"looks like {name}{group}"


def _report(
    photos: Photos,
    units: Ints,
    table: Sequence[Suspect],
    evidence: Evidence,
    earlier: dict[str, str],
    out: Path,
) -> Report:
    split_of = {row.path: row.split or "photos" for row in photos.rows}
    by_split = dict.fromkeys(sorted({*split_of.values()}), 0)
    for line in table:
        by_split[split_of[line.path]] += bool(line.reason)
    unjudged = int(evidence.unjudged.sum())
    if unjudged:
        say(
            f"warning: {unjudged} photos can't be judged, as their class has too few photos outside "
            "their group; they are last in the table"
        )
    lost = len({*earlier} - {*split_of})
    if lost:
        say(f"warning: {lost} decisions of the earlier table are left out, as their photos are gone")
    return Report(
        str(out / SUSPECTS),
        str(out / PAGE),
        len(table),
        int(units.max()) + 1,
        sum(bool(line.reason) for line in table),
        sum(line.is_open for line in table),
        by_split,
        unjudged,
        lost,
        photos.left_out,
        photos.network,
    )
