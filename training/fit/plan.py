"""What a run works on, decided before it begins and written down as `settings.json`.

Resuming later reads the same photos in the same split from there, and looks at nothing again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model.errors import InputError
from model.files import read_json, reading, write_json
from model.network import Network, load_pretrained
from model.photo_files import folders_in
from model.typed import check_fields
from training.data.photos import Photo, SkippedPhoto, groups_of, hold_out, read_split
from training.fit.old_names import with_new_names
from training.fit.settings import TrainSettings

VAL_SHARE = 0.15
IMBALANCED = 2.0  # largest class over the smallest, from which "auto" weights the loss
FILE = "settings.json"
_REMEDY = "put it back as `flyobj train` wrote it, or start a new run"


@dataclass(frozen=True)
class Plan:
    """Photos and settings of a run; `groups` counts the groups that the split kept together."""

    data: Path
    settings: TrainSettings
    classes: tuple[str, ...]
    fingerprint: str
    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]
    skipped: tuple[SkippedPhoto, ...]
    groups: int

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """Weights of the classes' losses, 1 on average over the photos; None for none.

        A class's weight is inverse to its photos, as scikit-learn's "balanced" has it.
        """
        counts = Counter(photo.label for photo in self.train)
        uneven = max(counts.values()) >= IMBALANCED * min(counts.values())
        if self.settings.class_weights == "off" or (
            self.settings.class_weights == "auto" and not uneven
        ):
            return None
        return tuple(
            len(self.train) / (len(counts) * counts[label]) for label in range(len(self.classes))
        )

    def to_json(self) -> dict[str, Any]:
        """Lay it out for `settings.json` and `run.json`; photos are named below `data`/train."""

        def relative(photos: Sequence[Photo]) -> list[str]:
            return [photo.path.relative_to(self.data / "train").as_posix() for photo in photos]

        return {
            "data": str(self.data),
            "settings": asdict(self.settings),
            "classes": self.classes,
            "fingerprint": self.fingerprint,
            "groups": self.groups,
            "skipped": [{"file": str(s.path), "reason": s.reason} for s in self.skipped],
            "train_files": relative(self.train),
            "validation_files": relative(self.validation),
        }


@dataclass(frozen=True)
class _Written:
    """The types of what `Plan.to_json` gives."""

    data: str
    classes: list[str]
    fingerprint: str
    groups: int
    skipped: list[dict[str, str]]
    train_files: list[str]
    validation_files: list[str]


def make_plan(data: Path, settings: TrainSettings) -> Plan:
    """Read and split `data/train`, and try what else could fail only after minutes.

    Raises:
        InputError: photos, weights or settings don't fit.
    """
    check_precision(settings.precision)
    split = read_split(data, "train")
    _check_test_classes(data, split.classes)
    load_pretrained(Network(len(split.classes)), settings.weights)
    groups = groups_of(data, split.photos, settings.group_regex)
    rest, held = hold_out(split.photos, groups, VAL_SHARE, settings.seed)
    return Plan(
        *(data, settings, split.classes, split.fingerprint, rest, held, split.skipped, len(set(groups)))
    )


def write_plan(plan: Plan, run: Path) -> None:
    """Write `settings.json` into the run folder."""
    write_json(plan.to_json(), run / FILE)


def read_plan(run: Path) -> Plan:
    """Read what `write_plan` wrote.

    Raises:
        InputError: the folder isn't a run's, or its data aren't what they were.
    """
    path = run / FILE
    if not path.is_file():
        raise InputError(
            f"{str(run)!r} has no {FILE}; give the run folder of `flyobj train` to --resume"
        )
    with reading(path, _REMEDY):
        document = with_new_names(read_json(path, remedy=_REMEDY))
        check_fields(_Written, document, repr(str(path)), _REMEDY)
        settings = TrainSettings.from_json(document["settings"], str(path))
        data, classes = Path(document["data"]), tuple(document["classes"])
        photos = [_photos(data, classes, document[key]) for key in ("train_files", "validation_files")]
        skipped = tuple(SkippedPhoto(Path(s["file"]), s["reason"]) for s in document["skipped"])
        rest = (document["fingerprint"], *photos, skipped, document["groups"])
    folder = data / "train"
    found = set(folders_in(folder)) if folder.is_dir() else set()
    if not set(classes) <= found:
        raise InputError(
            f"{str(folder)!r}, as {str(path)!r} names it, has lost the classes "
            f"{sorted(set(classes) - found)} since the run began; put them back, or start a new run"
        )
    return Plan(data, settings, classes, *rest)


def check_precision(precision: str) -> None:
    """Refuse bf16 where it would be emulated, which is slower than fp32."""
    if precision != "bf16":
        return
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported()
    else:
        features: Any = torch.cpu.get_capabilities()
        able = any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if not able:
        raise InputError(
            "precision 'bf16' needs a processor with avx512_bf16 or amx_bf16, or such a GPU; this "
            "machine has none; give --precision 32"
        )


def _check_test_classes(data: Path, classes: Sequence[str]) -> None:
    """Training never reads `test`, but finding out afterwards that it doesn't fit would be late."""
    folder = data / "test"
    found = folders_in(folder) if folder.is_dir() else []
    if strange := [name for name in found if name not in classes]:
        raise InputError(
            f"{str(folder)!r} has classes {strange} that aren't in train, which has {list(classes)}; "
            "add photos of them to train, or remove the folders"
        )


def _photos(data: Path, classes: Sequence[str], names: Sequence[str]) -> tuple[Photo, ...]:
    labels = {name: label for label, name in enumerate(classes)}
    return tuple(Photo(data / "train" / name, labels[name.split("/")[0]]) for name in names)
