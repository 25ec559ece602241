"""The bundle: a folder that holds everything the model's answers depend on.

    weights.safetensors  the network's state
    model.json           classes, preprocessing, calibration, where it came from (`ModelSpec`)
    golden/              a few photos, and in golden.json the answers that training gave for them
    metrics.json         what evaluation measured; written later, so not there at first

A bundle is written under a temporary name and renamed, so a crash leaves no half bundle.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from model.calibration import UNKNOWN, Calibration
from model.errors import InputError
from model.network import Network
from model.preprocessing import Preprocessing

FORMAT = 1
ARCHITECTURE = "mobilenet_v2"


@dataclass(frozen=True)
class ModelSpec:
    """What `model.json` says; one without `calibration` has that of an uncalibrated model."""

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data_fingerprint: str
    code_version: str
    created: str
    architecture: str = ARCHITECTURE
    format: int = FORMAT
    calibration: Calibration = field(default_factory=Calibration)

    @classmethod
    def from_json(cls, document: Any, where: str) -> "ModelSpec":
        """Check `document` key by key; `where` names it in errors."""
        values = _exact_keys(document, [f.name for f in fields(cls)], where, optional=("calibration",))
        if values["format"] != FORMAT or values["architecture"] != ARCHITECTURE:
            raise InputError(
                f"{where}: format {values['format']!r} of {values['architecture']!r} is not the one "
                f"this version reads ({FORMAT} of {ARCHITECTURE!r}); train or package it again"
            )
        classes = values["classes"]
        if not isinstance(classes, list) or len(set(map(str, classes))) < max(2, len(classes)):
            raise InputError(f"{where}: classes {classes!r} must be two or more different names")
        inner = _exact_keys(
            values["preprocessing"],
            [f.name for f in fields(Preprocessing)],
            f"{where}: preprocessing",
        )
        try:
            mean, std = (tuple(map(float, inner[name])) for name in ("mean", "std"))
            preprocessing = Preprocessing(int(inner["size"]), mean, std)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: preprocessing {inner!r} isn't made of numbers") from error
        calibration = _calibration(values.get("calibration", {}), classes, f"{where}: calibration")
        checked = {"preprocessing": preprocessing, "calibration": calibration}
        return cls(**{**values, "classes": tuple(classes), **checked})


@dataclass(frozen=True)
class Golden:
    """A photo that a packaged model must answer as training did."""

    name: str
    photo: bytes
    label: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory."""

    spec: ModelSpec
    network: Network
    golden: tuple[Golden, ...]


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write `bundle` to the folder `path`, which must not exist yet."""
    if path.exists():
        raise InputError(f"{str(path)!r} exists already; give another folder or remove it")
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    (partial / "golden").mkdir(parents=True)
    try:
        state = {name: t.contiguous() for name, t in bundle.network.state_dict().items()}
        save_file(state, partial / "weights.safetensors")
        write_json(asdict(bundle.spec), partial / "model.json")
        answers = [
            {"file": g.name, "label": g.label, "probabilities": dict(g.probabilities)}
            for g in bundle.golden
        ]
        write_json(answers, partial / "golden" / "golden.json")
        for golden in bundle.golden:
            (partial / "golden" / golden.name).write_bytes(golden.photo)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_bundle(path: Path) -> Bundle:
    """Read the bundle in the folder `path`, with its network in evaluation mode."""
    if not (path / "model.json").is_file():
        raise InputError(f"{str(path)!r} is no bundle (it has no model.json); `flyobj train` makes one")
    spec = ModelSpec.from_json(read_json(path / "model.json"), str(path / "model.json"))
    network = Network(len(spec.classes))
    try:
        network.load_state_dict(load_file(path / "weights.safetensors"))
    except Exception as error:  # a missing, damaged or other model's file
        raise InputError(
            f"{str(path / 'weights.safetensors')!r} doesn't hold this model's weights "
            f"({str(error).splitlines()[0]}); train or package it again"
        ) from error
    return Bundle(spec, network.eval(), read_golden(path / "golden"))


def read_golden(folder: Path) -> tuple[Golden, ...]:
    """Read the golden photos of a bundle from its folder `golden/`."""
    entries = read_json(folder / "golden.json")
    keys = ["file", "label", "probabilities"]
    golden = []
    for entry in entries if isinstance(entries, list) else []:
        values = _exact_keys(entry, keys, str(folder / "golden.json"))
        photo = folder / Path(values["file"]).name
        if not photo.is_file():
            raise InputError(f"golden photo {str(photo)!r} is missing; train or package it again")
        golden.append(Golden(photo.name, photo.read_bytes(), values["label"], values["probabilities"]))
    if not golden:
        raise InputError(f"{str(folder)!r} lists no golden photos; train or package it again")
    return tuple(golden)


def as_probabilities(classes: tuple[str, ...], row: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Name a (classes,) row of probabilities."""
    return {name: float(p) for name, p in zip(classes, row, strict=True)}


def read_json(path: Path) -> Any:
    """Read a JSON document, or say what is wrong with the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} can't be read as JSON ({error})") from error


def write_json(document: Any, path: Path) -> None:
    """Write a JSON document under a temporary name and rename it into place."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    # A file name that is no UTF-8 has surrogates; their backslash form is JSON's own.
    partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    partial.replace(path)


def _calibration(document: Any, classes: list[str], where: str) -> Calibration:
    names = [f.name for f in fields(Calibration)]
    values = _exact_keys(document, names, where, optional=names)
    try:
        below = values.get("reject_below")
        temperature = float(values.get("temperature", 1.0))
        calibration = Calibration(temperature, None if below is None else float(below))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} {values!r} isn't made of numbers") from error
    if calibration.reject_below is not None and UNKNOWN in classes:
        raise InputError(f"{where}: reject_below needs the name {UNKNOWN!r}, which is a class")
    return calibration


def _exact_keys(
    document: Any, keys: Sequence[str], where: str, optional: Sequence[str] = ()
) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InputError(f"{where} must be a JSON object, it is {type(document).__name__}")
    missing = sorted(set(keys) - set(document) - set(optional))
    unknown = sorted(set(document) - set(keys))
    if missing or unknown:
        raise InputError(
            f"{where}: missing keys {missing}, unknown keys {unknown}; exactly {sorted(keys)} are "
            "allowed; train or package it again"
        )
    return document
