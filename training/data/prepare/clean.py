"""Verdicts that need more than one file: too small, duplicates, near duplicates, two classes at once.

Of copies the one in the test split stays (a given test set stays what it is), then that in the
validation split, then the one with the most pixels, the most bytes, the first path. The same photo under
two classes is dropped with all its copies, but for those that someone has decided to keep.
"""

from collections import defaultdict
from collections.abc import Sequence

from model.layout import TEST, VALIDATION
from training.data.decisions import KEEP
from training.data.manifest import Reason, Row
from training.data.prepare.near import Pairs, near_pairs
from training.data.prepare.settings import PrepareSettings


def clean(rows: Sequence[Row], settings: PrepareSettings) -> list[tuple[Row, Row]]:
    """Drop what doesn't belong in, and return the pairs of near duplicates found on the way."""
    for row in rows:
        if row.kept and min(row.width, row.height) < settings.min_side:
            size = (
                f"{row.width} x {row.height} pixels, at least {settings.min_side} per side are required"
            )
            row.drop(Reason.TOO_SMALL, size)
    _drop_exact([row for row in rows if row.kept])
    searched = [r for r in rows if (r.kept or r.reason is Reason.CONFLICT) and r.phash]
    searched.sort(key=_rank)
    pairs = near_pairs([row.phash for row in searched], settings.near)
    _drop_conflicts(searched, pairs)
    _drop_near(searched, pairs, settings.keep_near)
    return [(searched[i], searched[j]) for i, j in pairs.tolist()]


def _rank(row: Row) -> tuple[int, int, int, str]:
    """Sort the best copy first."""
    split = (TEST, VALIDATION).index(row.split) if row.split in (TEST, VALIDATION) else 2
    return split, -row.width * row.height, -row.bytes, row.path


def _drop_exact(rows: Sequence[Row]) -> None:
    copies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        copies[row.sha256].append(row)
    for alike in copies.values():
        alike.sort(key=_rank)
        for row in alike if len(alike) > 1 else ():
            others = [r for r in alike if r.class_name != row.class_name]
            if others and row.decision != KEEP:
                row.drop(Reason.CONFLICT, f"also {others[0].class_name!r}", others[0].path)
            elif row is not alike[0]:
                row.drop(Reason.DUPLICATE, other=alike[0].path)


def _drop_conflicts(rows: Sequence[Row], pairs: Pairs) -> None:
    for i, j in pairs.tolist():
        if rows[i].class_name == rows[j].class_name:
            continue
        for row, other in ((rows[i], rows[j]), (rows[j], rows[i])):
            if row.kept and row.decision != KEEP:
                row.drop(Reason.CONFLICT, f"nearly the same as {other.class_name!r}", other.path)


def _drop_near(rows: Sequence[Row], pairs: Pairs, keep: bool) -> None:
    """Keep a photo only if none that comes before it, and is kept, is near. Pairs are sorted."""
    by_second = pairs[pairs[:, 1].argsort(kind="stable")]
    first_of: dict[int, Row] = {}
    for i, j in by_second.tolist():
        if rows[i].kept and rows[j].kept and i not in first_of and j not in first_of:
            first_of[j] = rows[i]
    for j, other in first_of.items():
        if keep:
            rows[j].reason, rows[j].other = Reason.NEAR, other.path
        else:
            rows[j].drop(Reason.NEAR, other=other.path)
