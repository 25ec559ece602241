"""Which photos belong together though nobody said so: frames of a clip, copies, photos of one moment.

Names tell. `V_BIRD_015_f0033` is `V_BIRD_015` with a number, `IMG_1234 (2)` is `IMG_1234`, and
`clip_03/0001` is in the folder `clip_03`. But `IMG_0001` to `IMG_9999` have such a stem too, and are no
frames of one clip. So within a class a stem makes a group if

- it holds at most a tenth of the class (or 5 photos), and photos of one stem are alike over all such
  stems of its form (`V_BIRD_#`; all that are words alone are of one form), or there are too few to tell;
- it holds at most `LARGE` of the class, or `LARGE_WORDS` if it is words alone, as of `bird_001`, and
  they are alike: photos of all stems of its form or, of words, its own if there are `ENOUGH`.

Alike means in mean colour: the chance that two of them are nearer than one is to another photo of the
class (the area under the ROC curve, 0.5 for names without meaning) is at least `ALIKE`, for small stems
of a form `ALIKE_FORM`; docs/experiments.md has the figures. Photos that a camera took within `MOMENT_S`
of one another are a group by the same rule.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
from scipy.stats import rankdata

from model.limits import RGB

ALIKE, ALIKE_FORM = 0.65, 0.6
ENOUGH, PAIRS = 20, 10  # photos of one stem, and pairs of those of a form, that can tell
FEW = 5  # photos of a stem that is small in any class
SMALL, LARGE, LARGE_WORDS = 0.1, 0.4, 0.25  # shares of a class; 0.4 leaves three groups
MOMENT_S = 3.0
NOTICED = "noticed in names and times"
NAME_BEFORE_NUMBER = r"^(.+?)[^A-Za-z0-9]*\d+\D*$"  # what people can type for it
DEPTH = 3  # numbers at the end of a name that are looked at
_SAMPLE = 400  # photos on either side of a comparison, about
_HEAD = 2**16  # bytes in which EXIF is looked for: a JPEG's segment has no more

# What programs append to the name of a copy or an edited photo; Roboflow: "x_jpg.rf.<hash>".
_COPY = re.compile(
    r"(_(jpe?g|png|webp)\.rf\.[0-9a-f]+|[\s_.-]*(copy|edited|aug|[hv]?flip|flipped|mirror(ed)?|crop))$",
    re.IGNORECASE,
)
# The last number, letters that belong to it (f0033, frame12), what separates it, and words behind it.
_NUMBER = re.compile(r"[\s_.\-/]*(?<![^\s_.\-/(])\(?[A-Za-z]*\d+\)?[^\d/]*$")
_TAKEN = re.compile(rb"(?<!\d)\d{4}:\d\d:\d\d \d\d:\d\d:\d\d\0")


@dataclass(frozen=True)
class Look:
    """What is looked at in a photo beside its name; empty where it isn't known."""

    colour: str = ""  # mean, as RRGGBB
    taken: str = ""  # by the camera's clock, as EXIF writes it: 2026:11:26 02:45:53


UNSEEN = Look()


def look(content: bytes, pixels: RGB) -> Look:
    """Look at a photo's bytes and its (H, W, 3) pixels."""
    step = max(1, min(pixels.shape[:2]) // 64)
    mean = pixels[::step, ::step].reshape(-1, 3).mean(axis=0)
    return Look(bytes(mean.astype(np.uint8)).hex(), _taken(content))


def _taken(content: bytes) -> str:
    """Find the earliest of EXIF's times: those of editing come later. Midnight means a day only."""
    times = sorted(t[:-1].decode() for t in _TAKEN.findall(content, 0, _HEAD))
    return next((t for t in times if _seconds(t) and not t.endswith("00:00:00")), "")


def _seconds(taken: str) -> float:
    try:
        return datetime.strptime(f"{taken}+0000", "%Y:%m:%d %H:%M:%S%z").timestamp()
    except ValueError:
        return 0.0


def stems(name: str) -> Iterator[str]:
    """Yield a name without its extension and copy marks, then without one number after another.

    Args:
        name: path below the class folder, with slashes.
    """
    folder, slash, file = name.rpartition("/")
    stem = folder + slash + (file.rpartition(".")[0] or file)
    while mark := _COPY.search(stem):
        stem = stem[: mark.start()]
    for _ in range(DEPTH + 1):
        if not stem:
            return
        yield stem
        shorter = _NUMBER.sub("", stem)
        stem = shorter if shorter != stem else stem.rpartition("/")[0]


@dataclass(frozen=True)
class Grouping:
    """Each photo's group, "" for none, and stems that look like groups but are too large for a split."""

    groups: list[str]
    suspects: list[str]


def in_words(groups: Iterable[str], how: str, across: int) -> str:
    """Say what groups there are, `across` of them in two splits, and how to change that.

    `how` they were found; "" if none were looked for.
    """
    sizes = Counter(group for group in groups if group)
    if not sizes:
        looked = NOTICED if how else "looked for"
        return f"no groups {looked}; --group-regex names photos that belong together, as a clip's do"
    (largest, photos), *_ = sizes.most_common(1)
    return (
        f"{len(sizes)} groups ({sizes.total()} photos) {how}, the largest {largest!r} with {photos}; "
        f"{across} are in two splits; --group-regex names others, --group-regex '' none"
    )


def find_groups(names: Sequence[str], classes: Sequence[str], looks: Sequence[Look]) -> Grouping:
    """Group photos within their classes; `names` are paths below the class folders."""
    groups, suspects = [""] * len(names), []
    by_class: dict[str, list[int]] = defaultdict(list)
    for photo, name in enumerate(classes):
        by_class[name].append(photo)
    for name, photos in by_class.items():
        found = _find_in_class([names[i] for i in photos], [looks[i] for i in photos])
        for photo, group in zip(photos, found.groups, strict=True):
            groups[photo] = group and f"{name}/{group}"
        suspects += [f"{name}/{stem}" for stem in found.suspects]
    return Grouping(groups, suspects)


def _find_in_class(names: Sequence[str], looks: Sequence[Look]) -> Grouping:
    judge = _Judge(looks)
    ladders = [list(stems(name)) for name in names]
    members: dict[str, dict[int, str]] = defaultdict(dict)  # of a stem: photo, and the stem below
    for photo, ladder in enumerate(ladders):
        for below, stem in zip((names[photo], *ladder), ladder, strict=False):
            members[stem].setdefault(photo, below)
    shared = {stem: own for stem, own in members.items() if len(own) > 1}
    alike = judge.alike(shared)
    groups = {stem for stem in alike if len(shared[stem]) <= _largest(stem) * len(names)}
    suspects = sorted(stem for stem in alike if stem not in groups)
    found = [next((stem for stem in reversed(ladder) if stem in groups), "") for ladder in ladders]
    return Grouping(_join_moments(found, looks, judge), suspects)


def _is_named(stem: str) -> bool:
    """Tell whether more than words is left: a number, or a folder."""
    return re.search(r"[\d/]", stem) is not None


def _largest(stem: str) -> float:
    return LARGE if _is_named(stem) else LARGE_WORDS


class _Judge:
    """Decides whether photos of a class that share something are alike."""

    def __init__(self, looks: Sequence[Look]) -> None:
        colours = [tuple(bytes.fromhex(look.colour)) or (np.nan,) * 3 for look in looks]
        self._colours = np.array(colours, np.float64)  # (photos, 3)

    def alike(self, members: Mapping[str, dict[int, str]]) -> list[str]:
        """Tell which stems are of photos that are alike, by all of their form or by themselves."""
        forms: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for stem, own in members.items():
            # Numbers that are numbered again; a copy of some frame doesn't make them that.
            nested = 2 * len({*own.values()}) <= len(own)
            small = not nested and self.is_small(own)
            form = re.sub(r"\d+", "#", stem) if _is_named(stem) else ""
            if small or form or len(own) >= ENOUGH:
                forms[form if small or form else stem, small].append(stem)
        found: list[str] = []
        for (_, small), same in forms.items():
            needed, unknown = (ALIKE_FORM, 1.0) if small else (ALIKE, 0.0)
            if self.likeness([members[stem] for stem in same], unknown) >= needed:
                found += same
        return found

    def is_small(self, photos: Sized) -> bool:
        """Tell whether it does no harm if they are no group."""
        n_all = len(self._colours)
        return len(photos) <= min(max(FEW, SMALL * n_all), LARGE * n_all)

    def is_large(self, photos: Sized) -> bool:
        """Tell whether they are too many for one side of a split."""
        return len(photos) > LARGE * len(self._colours)

    def likeness(self, groups: Sequence[Mapping[int, str]], unknown: float = 0.5) -> float:
        """Tell how often two of a group are nearer in colour than one is to another photo.

        Args:
            groups: photos, each with the finer stem that it is of; those of one aren't compared.
            unknown: what to return where there is too little to compare.
        """
        rng = np.random.default_rng(0)
        taken: dict[int, tuple[int, str]] = {}
        for number in rng.permutation(len(groups)).tolist():
            if len(taken) < _SAMPLE:
                own = list(groups[number].items())
                some = [own[i] for i in rng.permutation(len(own))[:_SAMPLE]]
                taken |= {photo: (number, below) for photo, below in some}
        inside = np.array(list({photo for group in groups for photo in group}))
        others = rng.permutation(np.setdiff1d(np.arange(len(self._colours)), inside))[:_SAMPLE]
        colours = self._colours[np.concatenate([np.array(list(taken)), others])]
        group = np.array([*(number for number, _ in taken.values()), *[-1] * len(others)])
        below = np.array([*(below for _, below in taken.values()), *[""] * len(others)])
        first, second = np.triu_indices(len(taken), 1, len(group))
        distance = np.sqrt(((colours[first] - colours[second]) ** 2).sum(axis=1))
        together, known = group[first] == group[second], ~np.isnan(distance)
        near = distance[together & (below[first] != below[second]) & known]
        far = distance[~together & known]
        if min(len(near), len(far)) < PAIRS:
            return unknown
        ranks = rankdata(np.concatenate([near, far]))[: len(near)].sum()
        return 1 - float(ranks - len(near) * (len(near) + 1) / 2) / (len(near) * len(far))


def _join_moments(found: list[str], looks: Sequence[Look], judge: _Judge) -> list[str]:
    """Give photos of one moment one group, that of the first which has one."""
    timed = sorted((_seconds(look.taken), i) for i, look in enumerate(looks) if look.taken)
    moments: list[list[int]] = []
    for before, (at, photo) in pairwise([(-np.inf, -1), *timed]):
        if at - before[0] > MOMENT_S:
            moments.append([])
        moments[-1].append(photo)
    renamed: dict[str, str] = {}
    for photos in moments:
        own = {photo: str(photo) for photo in photos}
        if len(own) < 2 or judge.is_large(own):
            continue
        if judge.is_small(own) or judge.likeness([own]) >= ALIKE:
            names = {found[photo] for photo in photos} - {""}
            name = next(
                (found[photo] for photo in photos if found[photo]), f"taken {looks[photos[0]].taken}"
            )
            renamed |= dict.fromkeys(names, name)
            for photo in photos:
                found[photo] = name
    return [_last(renamed, name) for name in found]


def _last(renamed: dict[str, str], name: str) -> str:
    while renamed.get(name, name) != name:
        name = renamed[name]
    return name
