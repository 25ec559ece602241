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
from model.files import read_json, reading, write_json
from model.layout import TEST, TRAIN, VALIDATION, classes_in, read_layout
from model.network import Network, load_pretrained
from model.run_folder import SETTINGS
from model.text import did_you_mean, shell_quote
from model.typed import check_fields
from report.progress import say
from training.data.decisions import warn_of_suspects
from training.data.grouping import NOTICED, in_words
from training.data.manifest import NAME
from training.data.photo_groups import groups_in_test, groups_of
from training.data.photos import (
    Photo,
    SkippedPhoto,
    Split,
    hold_out,
    photos_named,
    read_split,
)
from training.data.split import few_photos, number
from training.fit.old_names import with_new_names
from training.fit.settings import TrainSettings

VAL_SHARE = 0.15
IMBALANCED = 2.0  # largest class over the smallest, from which "auto" weights the loss
_REMEDY = "put it back as `flyobj train` wrote it, or start a new run"


@dataclass(frozen=True)
class Plan:
    """Photos and settings of a run; `groups` counts the groups that the split kept together.

    `folders` are those of the training and the validation photos, below `data`.
    """

    data: Path
    settings: TrainSettings
    classes: tuple[str, ...]
    fingerprint: str
    train: tuple[Photo, ...]
    validation: tuple[Photo, ...]
    skipped: tuple[SkippedPhoto, ...]
    groups: int
    folders: tuple[str, str] = (TRAIN, TRAIN)
    validation_groups: tuple[int, ...] = ()  # a number for each; empty if each is its own

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
        """Lay it out for settings.json and run.json of `run`; photos are named below their folder."""

        def relative(photos: Sequence[Photo], folder: str) -> list[str]:
            return [photo.path.relative_to(self.data / folder).as_posix() for photo in photos]

        return {
            "data": str(self.data),
            "data_from_run": os.path.relpath(self.data, run),
            "folders": self.folders,
            "settings": asdict(self.settings),
            "classes": self.classes,
            "fingerprint": self.fingerprint,
            "groups": self.groups,
            "skipped": [{"file": str(s.path), "reason": s.reason} for s in self.skipped],
            "train_files": relative(self.train, self.folders[0]),
            "validation_files": relative(self.validation, self.folders[1]),
            "validation_groups": self.validation_groups,
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
    folders: tuple[str, str]
    data_from_run: str
    validation_groups: list[int]


def make_plan(data: Path, settings: TrainSettings) -> Plan:
    """Read the training photos of `data`, and try what else could fail only after minutes.

    Photos for validation are those of its split of that name; without one some are held out.

    Raises:
        InputError: photos, weights or settings don't fit.
    """
    check_precision(settings.precision)
    data = data.absolute()
    if settings.weights not in ("imagenet", "none"):
        settings = replace(settings, weights=str(Path(settings.weights).absolute()))
    split, layout = read_split(data, TRAIN), read_layout(data)
    _check_test_classes(layout.folder(TEST), split.classes)
    load_pretrained(Network(len(split.classes), settings.head), settings.weights)
    given = _read_validation(data, split) if VALIDATION in layout.splits else split
    photos, skipped = split.photos, split.skipped
    if given is not split:
        photos, skipped = photos + given.photos, skipped + given.skipped
    groups = groups_of(data, photos, settings.group_regex)
    _say_groups(data, groups, len(split.photos), settings.group_regex)
    if given is split:
        rest, held = hold_out(photos, groups, VAL_SHARE, settings.seed)
    else:
        rest, held = split.photos, given.photos
    warn_of_suspects(data, len(photos))
    if few := few_photos({n: sum(p.label == i for p in rest) for i, n in enumerate(split.classes)}):
        say(f"warning: {few}")
    name_of = dict(zip([photo.path for photo in photos], groups, strict=True))
    own = tuple(number([name_of[photo.path] for photo in held]).tolist())
    say(
        f"validation: {len(held)} photos in {len(set(own))} groups; an accuracy's ± is half its 95 % "
        "interval over these"
    )
    n_groups = len(set(groups[: len(split.photos)]))
    train, validation = (part.folder.relative_to(data).as_posix() for part in (split, given))
    return Plan(
        *(data, settings, split.classes, split.fingerprint, rest, held, skipped, n_groups),
        folders=(train, validation),
        validation_groups=own,
    )


def write_plan(plan: Plan, run: Path) -> None:
    """Write `settings.json` into the run folder."""
    write_json(plan.to_json(run), run / SETTINGS)


def find_data(document: Mapping[str, Any], run: Path) -> Path:
    """Find the data folder of a run by what its settings.json or run.json says.

    That is where it was, or else where it is if data and run were moved together. Earlier versions wrote
    it as given, in a folder that the run is somewhere below.
    """
    data = Path(document["data"])
    places = [data, run.absolute() / document.get("data_from_run", data)]
    if not data.is_absolute():
        places += [parent / data for parent in run.absolute().parents]
    return next(
        (
            Path(os.path.normpath(p.absolute()))
            for p in places
            if (p / document.get("folders", [TRAIN])[0]).is_dir()
        ),
        data,
    )


def read_plan(run: Path, data: Path | None = None) -> Plan:
    """Read what `write_plan` wrote; `data` is where its photos are now, if they were moved.

    Raises:
        InputError: the folder isn't a run's, or its data aren't what they were.
    """
    path = run / SETTINGS
    if not path.is_file():
        raise InputError(
            f"{str(run)!r} has no {SETTINGS}; give the run folder of `flyobj train` to --resume"
        )
    with reading(path, _REMEDY):
        document = with_new_names(read_json(path, remedy=_REMEDY))
        check_fields(_Written, document, repr(str(path)), _REMEDY)
        settings = TrainSettings.from_json(document["settings"], str(path))
        data, classes = data or find_data(document, run), tuple(document["classes"])
        train, validation = document.get("folders", (TRAIN, TRAIN))
        photos = (
            photos_named(data / train, classes, document["train_files"]),
            photos_named(data / validation, classes, document["validation_files"]),
        )
        skipped = tuple(SkippedPhoto(Path(s["file"]), s["reason"]) for s in document["skipped"])
        groups = tuple(document.get("validation_groups", ()))  # earlier versions noted none
        if photos[1] and len(groups) not in (0, len(photos[1])):
            raise ValueError("a validation group for each validation photo is needed")
        rest = (document["fingerprint"], *photos, skipped, document["groups"])
    for own in photos:
        there = {photo.label for photo in own if photo.path.is_file()}
        if lost := sorted({classes[photo.label] for photo in own if photo.label not in there}):
            raise InputError(
                f"{str(data)!r}, the data of {str(path)!r}, has lost the classes {lost} since the run "
                f"began; put their photos back, say where the data are now with `flyobj train DATA "
                f"--resume {shell_quote(run)}`, or start a new run"
            )
    if settings.refit and not photos[1]:
        raise InputError(
            f"{str(path)!r}: refit gives the validation photos back to training, and the run has none; "
            "start a new run without --refit"
        )
    if data != Path(document["data"]):
        _require_same_photos([photo.path for part in photos for photo in part])
    return Plan(data, settings, classes, *rest, (train, validation), groups)


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


def _say_groups(data: Path, groups: Sequence[str], n_train: int, group_regex: str | None) -> None:
    """Say which photos belong together, and how many groups are in training and test photos too."""
    known = Counter(groups)
    named = [name if known[name] > 1 else "" for name in groups]
    how = {None: NOTICED, "": ""}.get(group_regex, f"by {group_regex}")
    if group_regex is None and (data / NAME).is_file():
        how = f"of {NAME}"
    train, others = set(named[:n_train]), set(named[n_train:])
    others |= groups_in_test(data, train, group_regex)
    say(in_words(named, how, len(train & others - {""})))


def _read_validation(data: Path, train: Split) -> Split:
    """Read the photos that come for validation, and say what they are."""
    given = read_split(data, VALIDATION)
    if given.classes != train.classes:
        raise InputError(
            f"{str(given.folder)!r} has the classes {list(given.classes)}, {str(train.folder)!r} "
            f"{list(train.classes)}; add what is missing, or move {given.folder.name!r} away: "
            "training photos are held out then"
        )
    say(
        f"validation: {len(given.photos)} photos of {str(given.folder)!r}, nothing is held out of "
        f"{len(train.photos)} training photos"
    )
    return given


def _check_test_classes(folder: Path, classes: Sequence[str]) -> None:
    """Training never reads `test`, but finding out afterwards that it doesn't fit would be late."""
    found = classes_in(folder) if folder.is_dir() else []
    if strange := [name for name in found if name not in classes]:
        raise InputError(
            f"{str(folder)!r} has classes {strange} that aren't in train, which has {list(classes)}; "
            "add photos of them to train, or remove the folders"
            f"{did_you_mean(strange[0], classes)}"
        )


def _require_same_photos(paths: Sequence[Path]) -> None:
    """Refuse data in another place than they were if they lack photos of the run."""
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(
            f"{len(missing)} of the run's {len(paths)} photos aren't there, such as "
            f"{str(missing[0])!r}; give the folder that the run was begun with"
        )
