"""What runs the network: uint8 photos in, log-probabilities and features out.

    torch     eager PyTorch, the reference that every other engine is compared with; also on GPUs
    openvino  Intel's runtime for CPUs of any make (`model.openvino_engine`), more than twice as fast

All compute in float32: in bfloat16 OpenVINO takes half the time again, but gave other answers to 2 % of
real photos (docs/experiments.md). An archive always holds the weights, so `torch` works everywhere; the
graph for OpenVINO is next to them in the folder `engines/`. `choose_engine` has the rule which one a
worker runs. PyTorch is imported by its own engine alone: where OpenVINO answers it needn't be installed.
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
from model.outputs import Outputs

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


def choose_engine(
    bundle: Bundle, folder: Path, device: str = "cpu", threads: int = 1, setting: str = "auto"
) -> Engine:
    """Choose the engine of a worker.

    1. What the environment variable `FLYOBJ_ENGINE` names, then what `setting` does, or an error if that
       can't run.
    2. PyTorch on a GPU.
    3. OpenVINO, if the archive has its graph, the package is installed and takes it on this CPU.
    4. PyTorch.

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
    if wanted == "openvino" or (wanted == "auto" and device == "cpu" and has_openvino(folder)):
        try:
            if not has_openvino(folder):
                raise FlyobjError("the archive has no graph for OpenVINO")
            from model.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(folder / _GRAPH, threads)
        except (ImportError, RuntimeError, FlyobjError) as error:  # RuntimeError: OpenVINO's own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if wanted == "openvino":
                raise FlyobjError(
                    f"{source} asks for OpenVINO, which can't run here ({reason}); package with "
                    "`flyobj archive --engine openvino` and install openvino, or let it be auto"
                ) from error
            logger.warning("PyTorch answers, as OpenVINO can't run here: %s", reason)
    return TorchEngine(bundle, device, threads)


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
        InputError: `wanted` is none of these, or OpenVINO isn't installed.
    """
    if wanted not in ("auto", *ENGINES):
        raise InputError(f"engine {wanted!r} is unknown; allowed are auto, {', '.join(ENGINES)}")
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
