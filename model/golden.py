"""Whether a model answers its golden photos as training did: one rule for archive, worker, rollout.

Packaging asks it of an archive, each worker of itself at its start, a deployment of the
running server. The last of these shouldn't wait for PyTorch, so it isn't imported here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.answers import UNKNOWN
from model.errors import InputError
from model.files import Readable, exact_keys, read_json

# Of probabilities and novelty, for every engine. They repeat to about 1e-6 on one machine and 1e-4
# across CPUs; a change of preprocessing that matters moves them by more than 1e-2, and so does computing
# in 16 bits.
TOLERANCE = 1e-3
_REMEDY = "train or package it again"


@dataclass(frozen=True)
class Golden:
    """A photo that a packaged model must answer as training did."""

    name: str
    photo: bytes
    label: str
    probabilities: Mapping[str, float]
    novelty: float | None = None  # None in older bundles


def read_golden(folder: Readable) -> tuple[Golden, ...]:
    """Read the golden photos of a bundle from its folder `golden/`, which may be in an archive."""
    where = repr(str(folder / "golden.json"))
    keys = ["file", "label", "probabilities"]
    golden = []
    for entry in read_json(folder / "golden.json", list):
        values = exact_keys(entry, [*keys, "novelty"], where, optional=["novelty"])
        numbers = values["probabilities"]
        named = isinstance(values["file"], str) and isinstance(values["label"], str)
        if not (named and isinstance(numbers, dict) and numbers):
            raise InputError(f"{where}: {entry!r} isn't a golden photo; {_REMEDY}")
        if bad := [n for n in numbers.values() if not _is_share(n)]:
            raise InputError(f"{where}: {bad[0]!r} isn't a probability; {_REMEDY}")
        if (novelty := values.get("novelty")) is not None and not _is_share(novelty):
            raise InputError(f"{where}: {novelty!r} isn't a novelty; {_REMEDY}")
        photo = folder / Path(values["file"]).name
        if not photo.is_file():
            raise InputError(
                f"{where}: golden photo {photo.name!r} is missing; train or package it again"
            )
        golden.append(Golden(photo.name, photo.read_bytes(), values["label"], numbers, novelty))
    if not golden:
        raise InputError(f"{where} lists no golden photos; {_REMEDY}")
    return tuple(golden)


def difference(golden: Golden, answer: Mapping[str, Any]) -> str | None:
    """Say how `answer` differs from training's beyond the tolerance, or None.

    "unknown" differs from no name: the probabilities that led to it are compared.
    """
    expected, got = golden.probabilities, answer.get("probabilities")
    if not isinstance(got, Mapping):
        return f"{golden.name}: no answer but {json.dumps(dict(answer))}"
    if set(got) != set(expected):
        return f"{golden.name}: classes {sorted(got)}, training had {sorted(expected)}"
    top, gap = max(expected, key=expected.__getitem__), max(abs(got[c] - expected[c]) for c in got)
    predicted = str(answer.get("predicted"))
    # Another top class is right only where training had the two level.
    behind = 0.0 if predicted == UNKNOWN else expected[top] - expected.get(predicted, 0.0)
    if gap > TOLERANCE or behind > TOLERANCE:
        return (
            f"{golden.name}: {answer.get('predicted')!r}, training answered {top!r}; probabilities "
            f"differ by up to {gap:.2g}, {TOLERANCE:g} is allowed"
        )
    novelty = answer.get("novelty")
    if golden.novelty is not None and (novelty is None or abs(novelty - golden.novelty) > TOLERANCE):
        return f"{golden.name}: novelty {novelty}, training had {golden.novelty:.4f}"
    return None


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1
