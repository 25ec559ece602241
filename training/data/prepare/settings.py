"""The options of `flyobj data prepare` that change its manifest; checked when made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from model.errors import InputError
from training.data.prepare.near import MAX_DISTANCE


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
    clusters: int = 4  # of K-Means, for each class
    prune_share: float = 0.02  # a cluster with less of its class than this is dropped
    group_regex: str | None = None  # None for what `grouping.find_groups` notices, "" for no groups
    test_share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that can't be worked with."""
        _require("min_side", self.min_side, 1, 20_000)
        _require("near", self.near, 0, MAX_DISTANCE)
        _require("clusters", self.clusters, 2, 10)
        _require("seed", self.seed, 0, 2**32 - 1)
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share is {self.test_share!r}; give a share between 0 and 1, say 0.2")
        if not 0 <= self.prune_share * self.clusters < 1:
            raise InputError(
                f"prune_share is {self.prune_share!r}; with {self.clusters} clusters give a share from "
                f"0 to less than {1 / self.clusters:.2f}, or --no-prune"
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
