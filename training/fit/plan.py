"""What a run works on, decided before it begins and written down as `settings.json`.

Resuming later, from any folder, reads the same photos in the same split from there, and looks at nothing
again.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.errors import InputError
from model.files import read_json, write_json
from model.network import Network, load_pretrained
from model.photo_files import folders_in
from training.data.photos import Photo, SkippedPhoto, groups_of, hold_out, read_split
from training.fit.old_names import with_new_names
from training.fit.settings import TrainSettings

VAL_SHARE = 0.15
IMBALANCED = 2.0  # largest class over the smallest, from which "auto" weights the loss
FILE = "settings.json"


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

    def to_json(self, run: Path) -> dict[str, Any]:
        """Lay it out for settings.json and run.json of `run`; photos are named below `data`/train."""

        def relative(photos: Sequence[Photo]) -> list[str]:
            return [photo.path.relative_to(self.data / "train").as_posix() for photo in photos]

        return {
            "data": str(self.data),
            "data_from_run": os.path.relpath(self.data, run),
            "settings": asdict(self.settings),
            "classes": self.classes,
            "fingerprint": self.fingerprint,
            "groups": self.groups,
            "skipped": [{"file": str(s.path), "reason": s.reason} for s in self.skipped],
            "train_files": relative(self.train),
            "validation_files": relative(self.validation),
        }


def make_plan(data: Path, settings: TrainSettings) -> Plan:
    """Read and split `data/train`, and try what else could fail only after minutes.

    Raises:
        InputError: photos, weights or settings don't fit.
    """
    check_precision(settings.precision)
    data = data.absolute()
    if settings.weights not in ("imagenet", "none"):
        settings = replace(settings, weights=str(Path(settings.weights).absolute()))
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
    write_json(plan.to_json(run), run / FILE)


def find_data(document: Mapping[str, Any], run: Path) -> Path:
    """Find the data folder of a run by what its settings.json or run.json says.

    That is where it was, or else where it is if data and run were moved together. Earlier versions wrote
    it as given, in a folder that the run is somewhere below.
    """
    data = Path(document["data"])
    places = [data, run.absolute() / document.get("data_from_run", data)]
    if not data.is_absolute():
        places += [parent / data for parent in run.absolute().parents]
    return next((Path(os.path.normpath(p.absolute())) for p in places if (p / "train").is_dir()), data)


def read_plan(run: Path, data: Path | None = None) -> Plan:
    """Read what `write_plan` wrote; `data` is where its photos are now, if they were moved.

    Raises:
        InputError: the folder isn't a run's, or its data aren't what they were.
    """
    path = run / FILE
    if not path.is_file():
        raise InputError(
            f"{str(run)!r} has no {FILE}; give the run folder of `flyobj train` to --resume"
        )
    document = with_new_names(read_json(path))
    try:
        data, classes = data or find_data(document, run), tuple(document["classes"])
        photos = [_photos(data, classes, document[key]) for key in ("train_files", "validation_files")]
        skipped = tuple(SkippedPhoto(Path(s["file"]), s["reason"]) for s in document["skipped"])
        rest = (document["fingerprint"], *photos, skipped, document["groups"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{str(path)!r} isn't as `flyobj train` wrote it ({error})") from error
    folder = data / "train"
    found = set(folders_in(folder)) if folder.is_dir() else set()
    if not set(classes) <= found:
        raise InputError(
            f"{str(folder)!r} has lost the classes {sorted(set(classes) - found)} since the run "
            f"began; put them back, say where the data are now with `flyobj train DATA --resume {run}`, "
            "or start a new run"
        )
    if data != Path(document["data"]):
        _require_same_photos([photo.path for part in photos for photo in part])
    return Plan(data, TrainSettings.from_json(document["settings"], str(path)), classes, *rest)


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


def _require_same_photos(paths: Sequence[Path]) -> None:
    """Refuse data in another place than they were if they lack photos of the run."""
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(
            f"{len(missing)} of the run's {len(paths)} photos aren't there, such as "
            f"{str(missing[0])!r}; give the folder that the run was begun with"
        )


def _photos(data: Path, classes: Sequence[str], names: Sequence[str]) -> tuple[Photo, ...]:
    labels = {name: label for label, name in enumerate(classes)}
    return tuple(Photo(data / "train" / name, labels[name.split("/")[0]]) for name in names)
