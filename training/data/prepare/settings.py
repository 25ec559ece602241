"""The options of `flyobj data prepare` that change its manifest; checked when made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import InputError
from training.data.prepare.near import MAX_DISTANCE

MAX_CLUSTERS = 10


@dataclass(frozen=True)
class PrepareSettings:
    """The defaults are explained in docs/data.md.

    Raises:
        InputError: a value is outside its range.
    """

    min_side: int = 32  # pixels
    near: int = 12  # bits, of 256, in which the hashes of near duplicates may differ
    keep_near: bool = False
    prune: bool = True
    clusters: int | None = None  # of K-Means, for each class; None for the elbow's
    prune_share: float = 0.02  # small photos are dropped if less than this of their class is small
    group_regex: str | None = None  # None for what `grouping.find_groups` notices, "" for no groups
    test_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that can't be worked with."""
        _require("min_side", self.min_side, 1, 20_000)
        _require("near", self.near, 0, MAX_DISTANCE)
        if self.clusters is not None:
            _require("clusters", self.clusters, 2, MAX_CLUSTERS)
        _require("seed", self.seed, 0, 2**32 - 1)
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share is {self.test_share!r}; give a share between 0 and 1, say 0.2")
        if not 0 <= self.prune_share <= 0.5:
            raise InputError(
                f"prune_share is {self.prune_share!r}; give a share from 0 to 0.5 of a class, say 0.02, "
                "or --no-prune"
            )
        if self.group_regex:
            _compile(self.group_regex)

    def groups_of(self, names: Sequence[str]) -> list[str]:
        """Name the group of each file name, "" for none: the first parenthesis, or the whole match.

        Raises:
            InputError: the expression finds nothing in any of them.
        """
        if not self.group_regex:
            return [""] * len(names)
        pattern = _compile(self.group_regex)
        matches = [pattern.search(name) for name in names]
        found = [(m[1 if pattern.groups else 0] or "") if m else "" for m in matches]
        if names and not any(found):
            raise InputError(
                f"group_regex {self.group_regex!r} matches none of {len(names)} file names, "
                f"such as {names[0]!r}; give another, or '' for no groups"
            )
        return found


def _require(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} is {value!r}; give a whole number from {low} to {high}")


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"group_regex {pattern!r} isn't a regular expression ({error}); "
            r"give one whose first parenthesis is the group, say '^(.+)_f\d+'"
        ) from error
