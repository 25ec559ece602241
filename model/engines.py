"""What runs the network: uint8 photos in, log-probabilities and features out.

    torch     eager PyTorch, the reference that every other engine is compared with; also on GPUs
    openvino  Intel's runtime for CPUs of any make (`model.openvino_engine`), more than twice as fast

They compute in float32, and an archive always holds the weights, so `torch` works everywhere; the graph
for OpenVINO is next to them in the folder `engines/`. A bundle of another precision (`model.precision`)
holds the one graph that answers. `choose_engine` has the rule which one a worker runs. PyTorch is
imported by its own engine alone: where OpenVINO answers it needn't be installed.
"""

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.errors import FlyobjError, InputError
from model.files import first_line
from model.outputs import Outputs
from model.precision import require_cpu

logger = logging.getLogger(__name__)

ENGINES = ("torch", "openvino")
VARIABLE = "FLYOBJ_ENGINE"
FOLDER = "engines"  # in an archive
_GRAPH = "openvino.xml"  # in that folder; its weights are in openvino.bin

Photos = npt.NDArray[np.uint8]


class Engine(Protocol):
    """One way to run a bundle's network, its normalisation included."""

    description: str  # for people: name, version, device

    def __call__(self, photos: Photos, maps: bool = False) -> Outputs:
        """Answer (N, S, S, 3) uint8 photos, with the feature maps if asked for."""


class TorchEngine:
    """Eager PyTorch, channels last."""

    def __init__(self, bundle: Bundle, device: str = "cpu", threads: int | None = None) -> None:
        """Move the bundle's network to `device`; on a CPU use so many threads, by default all cores'."""
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._preprocessing = bundle.spec.preprocessing
        self._device = torch.device(device)
        self._network = bundle.network.eval().to(self._device).to(memory_format=torch.channels_last)
        self.description = f"PyTorch {torch.__version__} on {device}"

    def __call__(self, photos: Photos, maps: bool = False) -> Outputs:
        """Answer (N, S, S, 3) uint8 photos, with the feature maps if asked for."""
        import torch

        batch = torch.from_numpy(self._preprocessing.normalize(photos))  # (N, S, S, 3)
        batch = batch.permute(0, 3, 1, 2).to(self._device)  # (N, 3, S, S), channels last in memory
        with torch.inference_mode():
            outputs = self._network.outputs(batch)[: 3 if maps else 2]
            return Outputs(*(np.asarray(one.cpu().numpy(), np.float32) for one in outputs))


def reference_engine(bundle: Bundle) -> Engine:
    """What gives the golden answers: eager PyTorch on the CPU, or the graph of another precision.

    Raises:
        FlyobjError: the graph can't run here.
    """
    return _run_graph(bundle, bundle.graph, 1) if bundle.graph else TorchEngine(bundle)


def choose_engine(
    bundle: Bundle, folder: Path, device: str = "cpu", threads: int = 1, setting: str = "auto"
) -> Engine:
    """Choose the engine of a worker.

    1. What the environment variable `FLYOBJ_ENGINE` names, then what `setting` does, or an error if that
       can't run.
    2. OpenVINO, or an error, if the precision isn't float32.
    3. PyTorch on a GPU.
    4. OpenVINO, if the archive has its graph, the package is installed and takes it on this CPU.
    5. PyTorch.

    Args:
        bundle: the model.
        folder: where the archive keeps its engines; may be missing.
        device: "cpu", or "cuda:N".
        threads: that it may use on a CPU.
        setting: "auto" or an engine, as `model-config.yaml` says.

    Raises:
        InputError: variable or setting names no engine.
        FlyobjError: the engine that they name can't run here.
    """
    source = VARIABLE if VARIABLE in os.environ else "model-config.yaml: handler: engine"
    wanted = os.environ.get(VARIABLE, setting)
    if wanted not in ("auto", *ENGINES):
        raise InputError(f"{source} is {wanted!r}; allowed are auto, {', '.join(ENGINES)}")
    if bundle.graph:
        if wanted == "torch":
            raise InputError(
                f"{source} asks for PyTorch, which can't compute this model: it is in "
                f"{bundle.spec.precision}; let it be auto"
            )
        return _run_graph(bundle, bundle.graph, threads)
    if wanted == "openvino" or (wanted == "auto" and device == "cpu" and has_openvino(folder)):
        try:
            if not has_openvino(folder):
                raise FlyobjError("the archive has no graph for OpenVINO")
            from model.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(folder / _GRAPH, threads)
        except (ImportError, RuntimeError, FlyobjError) as error:  # RuntimeError: OpenVINO's own
            reason = first_line(error)
            if wanted == "openvino":
                raise FlyobjError(
                    f"{source} asks for OpenVINO, which can't run here ({reason}); package with "
                    "`flyobj archive --engine openvino` and install openvino, or let it be auto"
                ) from error
            logger.warning("PyTorch answers, as OpenVINO can't run here: %s", reason)
    return TorchEngine(bundle, device, threads)


def _run_graph(bundle: Bundle, graph: Path, threads: int) -> Engine:
    """Run the graph of a bundle that isn't in float32; no other engine can."""
    precision = bundle.spec.precision
    require_cpu(precision)
    try:
        from model.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(graph, threads, precision)
    except (ImportError, RuntimeError) as error:
        raise FlyobjError(
            f"the model is in {precision}, which only OpenVINO computes, and that can't run it here "
            f"({first_line(error)}); `pip install openvino`, or use the float32 model"
        ) from error


def write_engines(bundle: Bundle, folder: Path, wanted: str) -> tuple[str, ...]:
    """Write to `folder` what a packaged bundle needs beside its weights.

    Args:
        bundle: is read only.
        folder: is made, if there is something to write.
        wanted: "torch" for nothing more than the weights, "openvino", or "auto" for OpenVINO where it is
            installed.

    Returns:
        The engines that can run it then.

    Raises:
        InputError: `wanted` is none of these, can't compute the bundle's precision, or OpenVINO isn't
            installed.
    """
    if wanted not in ("auto", *ENGINES):
        raise InputError(f"engine {wanted!r} is unknown; allowed are auto, {', '.join(ENGINES)}")
    if bundle.graph:  # it holds the one that answers
        if wanted == "torch":
            raise InputError(
                f"the model is in {bundle.spec.precision}, which only OpenVINO computes; leave out "
                "--engine torch"
            )
        return ("openvino",)
    if wanted == "torch" or (wanted == "auto" and not find_spec("openvino")):
        return ("torch",)
    try:
        from model.openvino_engine import write_graph
    except ImportError as error:
        raise InputError(
            f"engine 'openvino' can't be packaged ({error}); `pip install openvino`, or --engine torch"
        ) from error
    folder.mkdir(parents=True)
    write_graph(bundle, folder / _GRAPH)
    return ENGINES


def has_openvino(folder: Path) -> bool:
    """Whether an archive's folder of engines has a graph for OpenVINO."""
    return (folder / _GRAPH).is_file()
