"""Which of two models is better, on the same labelled photos: one rule for all commands and pages.

`report.paired` has the verdict on some photos. An improvement doesn't make up for a class that got
worse: a class is worse if its own interval lies below 0 (the intervals of K classes hold together with
95 %, each with 1 - 0.05 / K: Bonferroni), or if the new model doesn't know it any more. What counts is
the answer that a client gets, so "unknown" isn't right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.errors import FlyobjError, InputError
from model.golden import TOLERANCE
from model.text import did_you_mean
from report.intervals import ALPHA, Ints
from report.paired import (
    BETTER,
    NOT_WORSE,
    UNCLEAR,
    WORSE,
    Change,
    measure_change,
    more_groups,
    verdict_of,
)

MARGIN = 0.005  # of accuracy; a loss that nobody minds


@dataclass(frozen=True)
class Said:
    """What a model said of a photo."""

    answer: str  # a class, "unknown", or "error" for none
    confidence: float


@dataclass(frozen=True)
class Flip:
    """A photo that two models answer differently; `truth` is empty where no label is known."""

    photo: str
    truth: str
    before: str  # the old model's answer
    before_confidence: float
    after: str  # the new model's
    after_confidence: float
    gained: bool = False  # the new model alone is right
    lost: bool = False  # the old model alone is right


@dataclass(frozen=True)
class Comparison:
    """A verdict with what it rests on.

    Attributes:
        verdict: `BETTER`, `NOT_WORSE`, `WORSE` or `UNCLEAR`, of all photos.
        worse_classes: classes that got worse, whatever the verdict.
        margin: a loss of accuracy up to this still is not worse.
        groups: what the interval is over, for people.
        all: the change on all photos.
        per_class: on the photos of each class.
        only_new: classes that only the new model knows.
        only_old: classes that only the old model knows.
        same_answers: whether answers are the same, and probabilities within what golden photos may.
        more_photos: about how many more would give a verdict; None if there is one, or no such number.
        more_groups: the groups that they are of.
    """

    verdict: str
    worse_classes: tuple[str, ...]
    margin: float
    groups: str
    all: Change
    per_class: dict[str, Change]
    only_new: tuple[str, ...]
    only_old: tuple[str, ...]
    same_answers: bool
    more_photos: int | None
    more_groups: int | None

    @property
    def acceptable(self) -> bool:
        """Whether the new model may take the old one's place."""
        return self.verdict in (BETTER, NOT_WORSE) and not self.worse_classes


@dataclass(frozen=True)
class Labels:
    """The photos that both models answered."""

    photos: Sequence[str]  # for people
    truth: Sequence[str]  # each photo's class; empty where no label is known
    groups: Ints  # (photos,) each photo's group, numbered from 0
    groups_text: str  # what these are: "63 groups of manifest.csv"


def judge(
    labels: Labels,
    new: Sequence[Said],
    old: Sequence[Said],
    classes: tuple[Sequence[str], Sequence[str]],
    largest_difference: float = math.inf,
    margin: float = MARGIN,
) -> Comparison:
    """Compare what two models said of the same photos.

    Args:
        labels: of the photos.
        new: the new model's answers, in the photos' order.
        old: the old model's.
        classes: that the new and the old model know.
        largest_difference: of any probability; infinite if the classes differ.
        margin: a loss of accuracy that nobody minds.

    Raises:
        InputError: neither model knows a class of the photos.
    """
    if not 0 <= margin < 1:
        raise InputError(f"margin {margin} must be from 0 to less than 1; 0.005 is half a point")
    require_known(labels, classes)
    knows_new, knows_old = map(set, classes)
    truth = np.array(labels.truth, object)
    ours = np.array([said.answer for said in new], object) == truth
    theirs = np.array([said.answer for said in old], object) == truth
    names = [name for name in dict.fromkeys((*classes[1], *classes[0])) if name in {*labels.truth}]
    per_class = {
        name: measure_change(ours[own], theirs[own], labels.groups[own], ALPHA / len(names))
        for name in names
        if (own := truth == name).any()
    }
    whole = measure_change(ours, theirs, labels.groups)
    only_old = tuple(name for name in classes[1] if name not in knows_new)
    same = largest_difference <= TOLERANCE and not find_flips(labels, new, old)
    verdict = NOT_WORSE if same else verdict_of(whole, margin)
    more = more_groups(ours, theirs, labels.groups, margin) if verdict == UNCLEAR else None
    return Comparison(
        verdict=verdict,
        worse_classes=tuple(n for n, c in per_class.items() if c.interval[1] < 0 or n in only_old),
        margin=margin,
        groups=labels.groups_text,
        all=whole,
        per_class=per_class,
        only_new=tuple(name for name in classes[0] if name not in knows_old),
        only_old=only_old,
        same_answers=same,
        more_photos=_round_up(more * whole.photos / whole.groups) if more else None,
        more_groups=_round_up(more) if more else None,
    )


def require_known(labels: Labels, classes: tuple[Sequence[str], Sequence[str]]) -> None:
    """Raise an `InputError` if neither model knows a class of the photos."""
    if strange := sorted({*labels.truth}.difference(*classes)):
        known = sorted({*classes[0], *classes[1]})
        raise InputError(
            f"classes {strange} of the photos are known to neither model; known are {known}"
            f"{did_you_mean(strange[0], known)}"
        )


def find_flips(labels: Labels, new: Sequence[Said], old: Sequence[Said]) -> tuple[Flip, ...]:
    """List the photos that get other answers, and who is right."""
    return tuple(
        Flip(
            *(photo, truth, o.answer, o.confidence, n.answer, n.confidence),
            gained=n.answer == truth,
            lost=o.answer == truth,
        )
        for photo, truth, n, o in zip(labels.photos, labels.truth, new, old, strict=True)
        if n.answer != o.answer
    )


def require_acceptable(comparison: Comparison, new: str, old: str, then: str = "") -> None:
    """Raise a `FlyobjError` that ends with `then` unless the new model may take the old one's place."""
    if not comparison.acceptable:
        raise FlyobjError(f"{in_words(comparison, new, old)}{then}")


def in_words(c: Comparison, new: str, old: str) -> str:
    """Say the verdict in a sentence, without the figures."""
    if c.verdict == UNCLEAR:
        more = "no number of photos would be enough at this difference"
        if c.more_photos:
            more = f"about {c.more_photos:,} more are needed, in {c.more_groups:,} more groups"
        if c.more_photos and c.all.groups == c.all.photos:
            more = f"about {c.more_photos:,} more are needed"
        if c.all.groups == 1:
            more = "all are of one group, so photos of other groups are needed"
        said = f"these {c.all.photos:,} photos can't tell whether {new} is better than {old}; {more}"
    elif c.same_answers:
        said = f"{new} gives the same answers as {old}"
    else:
        least = f" by more than {c.margin:g}" if c.verdict == NOT_WORSE else ""
        said = f"{new} is {c.verdict} than {old}{least}"
    if c.worse_classes:
        joined = ", ".join(c.worse_classes)
        said += f", but worse for {joined}" if c.verdict != WORSE else f", for {joined} above all"
    return said


def figures(c: Comparison) -> str:
    """Write the figures that the verdict rests on in a line."""
    a, (low, high) = c.all, c.all.interval
    return (
        f"accuracy {a.new:.3f}, before {a.old:.3f}: {a.difference:+.3f} (95 %: {low:+.3f} to "
        f"{high:+.3f}, over {c.groups}); {a.gained} photos gained, {a.lost} lost, McNemar's exact p "
        f"{a.mcnemar:.2g}"
    )


def _round_up(number: float) -> int:
    """Round up to two digits: it is an estimate."""
    unit = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return math.ceil(number / unit) * unit
