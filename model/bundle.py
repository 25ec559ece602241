"""The bundle: a folder that holds everything the model's answers depend on.

    weights.safetensors  the network's state
    model.json           classes, preprocessing, calibration, where it came from (`ModelSpec`)
    novelty.safetensors  what features known photos have (`model.novelty`); not in older bundles
    golden/              a few photos, and in golden.json the answers that training gave for them
    metrics.json         what evaluation measured; written later, so not there at first
    graph.xml, graph.bin only in other precisions than float32 (`model.precision`): OpenVINO's graph,
                         which answers. Of the weights such a bundle has the head's alone

A bundle is written beside its place and moved there, so a crash leaves no half bundle.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.answers import UNKNOWN
from model.calibration import Calibration
from model.errors import InputError
from model.explain import Head
from model.files import atomic_folder, exact_keys, first_line, read_json, reading, write_json
from model.golden import Golden, read_golden
from model.novelty import Novelty, read_novelty, write_novelty
from model.precision import F32, PRECISIONS
from model.preprocessing import Preprocessing
from model.typed import check_fields

if TYPE_CHECKING:  # importing PyTorch takes long, and an engine may do without it
    from model.network import Network

FORMAT = 1
GRAPH, WEIGHTS = "graph.xml", "weights.safetensors"
ARCHITECTURES = {"mlp": "mobilenet_v2", "linear": "mobilenet_v2-linear"}  # by head of `Network`
_REMEDY = "train or package it again"


@dataclass(frozen=True)
class ModelSpec:
    """What `model.json` says; without `calibration` it is uncalibrated, without `precision` float32."""

    classes: tuple[str, ...]
    preprocessing: Preprocessing
    data_fingerprint: str
    code_version: str
    created: str
    architecture: str = ARCHITECTURES["mlp"]
    format: int = FORMAT
    calibration: Calibration = field(default_factory=Calibration)
    precision: str = F32

    @property
    def head(self) -> str:
        """Name the network's head."""
        return next(head for head, name in ARCHITECTURES.items() if name == self.architecture)

    @classmethod
    def from_json(cls, document: Any, where: str) -> "ModelSpec":
        """Check `document` key by key; `where` names it in errors."""
        names, optional = [f.name for f in fields(cls)], ("calibration", "precision")
        values = exact_keys(document, names, where, optional)
        if values["format"] != FORMAT or values["architecture"] not in ARCHITECTURES.values():
            raise InputError(
                f"{where}: format {values['format']!r} of {values['architecture']!r} is not the one "
                f"this version reads ({FORMAT} of {' or '.join(ARCHITECTURES.values())}); {_REMEDY}"
            )
        if (precision := values.get("precision", F32)) not in PRECISIONS:
            raise InputError(
                f"{where}: precision {precision!r} is none of {', '.join(PRECISIONS)}; {_REMEDY}"
            )
        classes = values["classes"]
        check_fields(cls, values, where, _REMEDY)
        if len(set(classes)) < max(2, len(classes)):
            raise InputError(f"{where}: classes {classes!r} must be two or more different names")
        inner, names = values["preprocessing"], [f.name for f in fields(Preprocessing)]
        exact_keys(inner, names, f"{where}: preprocessing")
        preprocessing = Preprocessing(inner["size"], tuple(inner["mean"]), tuple(inner["std"]))
        calibration = _calibration(values.get("calibration", {}), classes, f"{where}: calibration")
        checked = {"preprocessing": preprocessing, "calibration": calibration}
        return cls(**{**values, "classes": tuple(classes), **checked})


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory."""

    spec: ModelSpec  # what `model.json` says
    # The network, or the folder to read it from when it is first asked for: a worker that runs another
    # engine never does.
    source: "Network | Path"
    golden: tuple[Golden, ...]  # the golden photos
    novelty: Novelty | None = None

    @property
    def graph(self) -> Path | None:
        """The file of the graph that answers, where the precision isn't float32."""
        return (
            self.source / GRAPH if isinstance(self.source, Path) and self.spec.precision != F32 else None
        )

    @cached_property
    def network(self) -> "Network":
        """The network, in evaluation mode if it was read from a folder; `InputError` if it can't be."""
        if self.graph:
            raise InputError(
                f"a model in {self.spec.precision} is a graph for OpenVINO and has no network for "
                "PyTorch; use the float32 run that it was made from"
            )
        return _read_network(self.source, self.spec) if isinstance(self.source, Path) else self.source

    @cached_property
    def head(self) -> Head:
        """The linear layers of the network's head, which are read without PyTorch; errors as above."""
        if isinstance(self.source, Path):
            from safetensors.numpy import load_file

            with _naming_weights(self.source) as path:
                state = load_file(path)
        else:
            state = {name: tensor.cpu().numpy() for name, tensor in self.source.state_dict().items()}
        names = sorted(name for name in state if name.startswith("head.") and name.endswith(".weight"))
        return [(state[name], state[f"{name.removesuffix('weight')}bias"]) for name in names]


def write_bundle(bundle: Bundle, path: Path, replace: bool = False) -> None:
    """Write `bundle` to the folder `path`, which must not exist yet unless it is to be replaced."""
    if path.exists() and not replace:
        raise InputError(f"{str(path)!r} exists already; give another folder or remove it")
    from safetensors.torch import save

    with atomic_folder(path) as new:
        if bundle.graph:
            for file in (bundle.graph, bundle.graph.with_suffix(".bin"), bundle.graph.parent / WEIGHTS):
                shutil.copyfile(file, new / file.name)
        else:
            state = {name: t.contiguous() for name, t in bundle.network.state_dict().items()}
            (new / WEIGHTS).write_bytes(save(state))  # whose own errors are of no kind
        write_json(asdict(bundle.spec), new / "model.json")
        write_novelty(bundle.novelty, new)
        (new / "golden").mkdir()
        answers = [
            {"file": g.name, "label": g.label, "probabilities": dict(g.probabilities)}
            | ({} if g.novelty is None else {"novelty": g.novelty})
            for g in bundle.golden
        ]
        write_json(answers, new / "golden" / "golden.json")
        for golden in bundle.golden:
            (new / "golden" / golden.name).write_bytes(golden.photo)


def read_bundle(path: Path) -> Bundle:
    """Read the bundle in the folder `path`."""
    if not (path / "model.json").exists():
        raise InputError(
            f"{str(path)!r} isn't a bundle (it has no model.json); `flyobj train` makes one"
        )
    where = path / "model.json"
    with reading(where, _REMEDY):
        spec = ModelSpec.from_json(read_json(where, remedy=_REMEDY), str(where))
    return Bundle(spec, path, read_golden(path / "golden"), read_novelty(path))


def _read_network(folder: Path, spec: ModelSpec) -> "Network":
    from safetensors.torch import load_file

    from model.network import Network

    network = Network(len(spec.classes), spec.head)
    with _naming_weights(folder) as path:
        network.load_state_dict(load_file(path))
    return network.eval()


@contextmanager
def _naming_weights(folder: Path) -> Iterator[Path]:
    """Yield the file of a bundle's weights; what goes wrong with it is the user's to know."""
    path = folder / WEIGHTS
    try:
        yield path
    except Exception as error:  # a missing, damaged or other model's file
        raise InputError(
            f"{str(path)!r} doesn't hold this model's weights ({first_line(error)}); {_REMEDY}"
        ) from error


def _calibration(document: Any, classes: list[str], where: str) -> Calibration:
    names = [f.name for f in fields(Calibration)]
    values = exact_keys(document, names, where, optional=names)
    calibration = Calibration(**values)
    if calibration.rejects and UNKNOWN in classes:
        name = "reject_rate" if calibration.reject_below is None else "reject_below"
        raise InputError(f"{where}: {name} needs the name {UNKNOWN!r}, which is a class")
    return calibration
