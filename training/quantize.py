"""A trained run in fewer bits: a run of its own, with the graph that answers.

int8   NNCF quantises OpenVINO's graph after training: the ranges of activations are measured on training
       photos, and biases corrected layer by layer. Weights, but those of depthwise layers, take 7 of the
       8 bits: processors without VNNI add products in 16 bits, which would overflow
bf16   the graph stays, and OpenVINO computes it in bfloat16

Whether it is good enough is decided on the parent's validation photos, by the rule of `flyobj compare`.
Calibration and golden answers are then made anew, by that very graph.
"""

import contextlib
import io
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import GRAPH, WEIGHTS, Bundle, read_bundle, write_bundle
from model.errors import FlyobjError, InputError
from model.files import atomic_folder, read_json, reading, write_json
from model.limits import RGB
from model.precision import F32, INT8, PRECISIONS, require_cpu
from model.predictor import Predictor
from model.run_folder import BUNDLE, find_bundle
from report.comparison import MARGIN, Comparison, Labels, Said, figures, in_words, judge
from report.intervals import Floats, Ints
from report.progress import progress, say, track
from training.calibrate import calibrate, held_out
from training.data.photos import Photo
from training.evaluation.answers import BATCH
from training.fit.plan import find_data
from training.novelty import sample

MIN_PHOTOS = 50  # fewer don't show the ranges of activations
_CALIBRATION_PHOTOS = 100  # 300 and 1,000 did no better (docs/experiments.md)
# How many of the first layers stay in float32, in turn until it is good enough. Their few channels have
# ranges far apart: with 3 answers are twice to four times as near to the parent's as with none, with 6
# again two to six times, for a sixth of the time more (docs/experiments.md).
_FLOAT_LAYERS = (3, 6)
_REMEDY = "give a run folder of `flyobj train`"
_HEAD = "MatMul"  # as OpenVINO names the types of layers
_LAYERS = ("Convolution", "GroupConvolution", _HEAD)


@dataclass(frozen=True)
class Attempt:
    """One way that was tried.

    Attributes:
        how: which layers were in the wanted precision.
        comparison: with the parent, on validation photos.
        divergence: mean Kullback-Leibler divergence of its answers from the parent's, in nats.
        seconds: of this machine.
    """

    how: str
    comparison: Comparison
    divergence: float
    seconds: float


@dataclass(frozen=True)
class QuantizedRun:
    """What came of it."""

    run: str
    parent: str
    precision: str
    accepted: bool
    kept: Attempt
    attempts: tuple[Attempt, ...]


def quantize(
    run: Path, out: Path, precision: str = INT8, data: Path | None = None, force: bool = False
) -> QuantizedRun:
    """Write the run `out`, which must not exist yet, with the model of `run` in `precision`.

    Args:
        run: of `flyobj train`, in float32.
        out: is written as a whole, or not at all.
        precision: "int8" or "bf16".
        data: folder that `run` was trained on; None to take the one it names.
        force: write it even if it isn't shown to be as good.

    Raises:
        InputError: the run can't be quantised, or its photos aren't there; NNCF is missing.
        FlyobjError: this processor doesn't compute in `precision`, or, without `force`, the best attempt
            is worse than its parent, or the validation photos can't tell.
    """
    parent, document = _read_parent(run, out, precision)
    place = data or find_data(document, run)
    photos, groups, trained = held_out(document, run, parent.spec.classes, place, _REMEDY)
    training = _choose_photos(parent, trained) if precision == INT8 else []
    old, rows = _ask(Predictor(parent), photos)
    candidates = []
    with tempfile.TemporaryDirectory(prefix="flyobj-quantize-") as room:
        for layers in _FLOAT_LAYERS:
            started = time.monotonic()
            made = write_graph(parent, Path(room, str(layers)), precision, training, layers)
            bundle, fit = calibrate(made, photos, groups, trained, _reject_rate(document))
            new, others = _ask(Predictor(bundle), photos)
            comparison = _judge(parent, photos, groups, new, old)
            how = (
                f"all but the first {layers} layers and the head" if precision == INT8 else "all layers"
            )
            seconds = time.monotonic() - started
            attempt = Attempt(how, comparison, _divergence(rows, others), seconds)
            candidates.append((attempt, bundle, fit))
            say(f"{precision}, {how}: {figures(comparison)}; divergence {attempt.divergence:.4f}")
            if comparison.acceptable or precision != INT8:
                break
        # One that is good enough is the last; else the one whose answers are nearest.
        order = sorted(candidates, key=lambda c: (not c[0].comparison.acceptable, c[0].divergence))
        best, bundle, fit = order[0]
        attempts = tuple(attempt for attempt, _, _ in candidates)
        result = QuantizedRun(str(out), str(run), precision, best.comparison.acceptable, best, attempts)
        if not (result.accepted or force):
            raise FlyobjError(_why_refused(result))
        facts = {"precision": precision, "quantized": asdict(result), "calibration": asdict(fit)}
        facts |= {"data": str(place), "data_from_run": os.path.relpath(place, out)}
        with atomic_folder(out) as new_run:
            write_json({**document, **facts}, new_run / "run.json")
            write_bundle(bundle, new_run / BUNDLE)
    return result


def _read_parent(run: Path, out: Path, precision: str) -> tuple[Bundle, dict[str, Any]]:
    """Read the run's bundle and `run.json`, and refuse what can't come to a good end."""
    if precision not in (allowed := PRECISIONS[1:]):
        raise InputError(f"precision {precision!r} is none of {', '.join(allowed)}")
    if os.path.lexists(out):
        raise InputError(f"{str(out)!r} exists already; give another --out or remove it")
    require_cpu(precision)
    needed, extra = ("nncf", ".[quantize]") if precision == INT8 else ("openvino", ".")
    if not find_spec(needed):
        raise InputError(
            f"{precision} needs {needed!r}, which isn't installed: pip install -e '{extra}'"
        )
    parent, path = read_bundle(find_bundle(run)), run / "run.json"
    with reading(path, _REMEDY):
        document: dict[str, Any] = read_json(path, remedy=_REMEDY)
    if parent.spec.precision != F32:
        origin = (document.get("quantized") or {}).get("parent", "the float32 run it was made from")
        raise InputError(
            f"{str(run)!r} is in {parent.spec.precision} already; quantise {str(origin)!r} instead"
        )
    return parent, document


def _choose_photos(parent: Bundle, trained: Sequence[Photo]) -> list[RGB]:
    """Photos to measure ranges on, evenly over all of them, as the network gets them."""
    if len(trained) < MIN_PHOTOS:
        raise InputError(
            f"int8 needs at least {MIN_PHOTOS} photos to measure ranges on, and the run was trained on "
            f"{len(trained)}; add photos and train again, or take --precision bf16"
        )
    load, chosen = parent.spec.preprocessing.load, sample(trained, _CALIBRATION_PHOTOS)
    return [load(photo.path.read_bytes()) for photo in track(chosen, "reading training photos")]


def _ask(predictor: Predictor, photos: Sequence[Photo]) -> tuple[list[Said], Floats]:
    """What a model says of the photos: in words, and (photos, classes) probabilities."""
    found = []
    for start in track(range(0, len(photos), BATCH), "comparing"):
        batch = photos[start : start + BATCH]
        found += predictor.answer([predictor.prepare(photo.path.read_bytes()) for photo in batch])
    rows = np.stack([one.row for one in found]).astype(np.float64)
    return [Said(one.name, float(one.row.max())) for one in found], rows


def _judge(
    parent: Bundle, photos: Sequence[Photo], groups: Ints, new: list[Said], old: list[Said]
) -> Comparison:
    """Compare on validation, by the rule of `flyobj compare`."""
    classes = parent.spec.classes
    count = f"{len(np.unique(groups))} groups of validation photos"
    names = [photo.path.name for photo in photos]
    labels = Labels(names, [classes[photo.label] for photo in photos], groups, count)
    return judge(labels, new, old, (classes, classes))


def _divergence(old: Floats, new: Floats) -> float:
    """Mean Kullback-Leibler divergence of (photos, classes) probabilities from the old ones, in nats."""
    least = np.finfo(np.float32).tiny
    return float((old * np.log(np.maximum(old, least) / np.maximum(new, least))).sum(axis=1).mean())


def write_graph(
    parent: Bundle, folder: Path, precision: str, training: Sequence[RGB] = (), layers: int = 3
) -> Bundle:
    """Write the graph and the weights of the head; the bundle's calibration and answers are old.

    Args:
        parent: in float32.
        folder: is made.
        precision: "int8" or "bf16".
        training: (S, S, 3) photos that int8's ranges are measured on.
        layers: the first ones, which int8 leaves in float32.
    """
    from safetensors.torch import save_file

    from model.openvino_engine import convert, save

    folder.mkdir()
    graph = convert(parent)
    save(_to_int8(graph, training, layers) if precision == INT8 else graph, folder / GRAPH)
    state = parent.network.state_dict()
    save_file({k: v.contiguous() for k, v in state.items() if k.startswith("head.")}, folder / WEIGHTS)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(
        parent, spec=replace(parent.spec, precision=precision, created=created), source=folder
    )


def _to_int8(graph: Any, training: Sequence[RGB], layers: int) -> Any:
    """Quantise an OpenVINO graph but for the first `layers`, and the head, which costs nothing."""
    with progress("quantising"), contextlib.redirect_stdout(io.StringIO()):  # it draws bars there
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # "no CUDA runtime"
        import nncf  # its telemetry needs `openvino_telemetry`, which `model.openvino_engine` hides

        nncf.set_log_level(logging.ERROR)
        found = [op for op in graph.get_ordered_ops() if op.get_type_name() in _LAYERS]
        first, head = found[:layers], [op for op in found if op.get_type_name() == _HEAD]
        return nncf.quantize(
            graph,
            nncf.Dataset([photo[None] for photo in training]),
            preset=nncf.QuantizationPreset.MIXED,  # asymmetric where activations are, as behind ReLU6
            subset_size=len(training),
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=[op.get_friendly_name() for op in first + head]),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )


def _reject_rate(document: dict[str, Any]) -> float | None:
    """The share of known photos that the parent may answer "unknown"; None without a threshold."""
    fit = document.get("calibration") or {}
    if fit.get("reject_below") is not None:  # of older runs
        return float(fit["rejected"] / fit["photos"])
    return fit.get("reject_rate")


def _why_refused(result: QuantizedRun) -> str:
    kept, name = result.kept, f"the model in {result.precision}"
    tried = "; ".join(f"{attempt.how}: {figures(attempt.comparison)}" for attempt in result.attempts)
    return (
        f"{in_words(kept.comparison, name, result.parent)}, so nothing is written. At most "
        f"{100 * MARGIN:g} points of accuracy may be lost, with 95 % confidence. Tried: {tried}. "
        "--force writes it anyway"
    )
