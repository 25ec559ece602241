"""OpenVINO: the bundle's network as one graph from uint8 pixels to its outputs, for CPUs.

The graph comes from `torch.export`, takes any batch size, and holds normalisation and layout too, so
that NumPy does nothing a photo but the resize.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle
from model.outputs import Outputs
from model.precision import BF16, F32, INT8

# As if it weren't installed: OpenVINO would report each conversion to Google Analytics.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino as ov  # noqa: E402

# Photos that go through the network at a time, for each thread. In float32 what lies between two layers
# for more than two fits no core's cache, and batches of 8 cost a fifth more a photo; in fewer bits they
# cost a fifth less (docs/experiments.md).
_AT_A_TIME = {F32: 2, BF16: 8, INT8: 8}


class OpenVinoEngine:
    """A graph, compiled for this CPU."""

    def __init__(self, graph: Path, threads: int = 1, precision: str = F32) -> None:
        """Read and compile a graph; raises `RuntimeError` if OpenVINO can't on this CPU."""
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # With one thread OpenVINO pins every process to the first core, and they share it.
            "ENABLE_CPU_PINNING": False,
            # Without it a CPU that has bfloat16 computes in that. The layers of an int8 graph say
            # themselves that they are; the others are in float32.
            "INFERENCE_PRECISION_HINT": BF16 if precision == BF16 else F32,
        }
        compiled = _core().compile_model(graph, "CPU", settings)
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)  # 1 in older archives: the scores
        self._at_a_time = _AT_A_TIME[precision] * threads
        in_precision = "" if precision == F32 else f" in {precision}"
        self.description = f"OpenVINO {ov.__version__.split('-')[0]} on cpu{in_precision}"

    def __call__(self, photos: npt.NDArray[np.uint8], maps: bool = False) -> Outputs:
        """Answer (N, S, S, 3) uint8 photos, with the feature maps if asked for."""
        parts = []
        wanted = min(self._outputs, 3 if maps else 2)
        for start in range(0, len(photos), self._at_a_time):
            part = photos[start : start + self._at_a_time]
            # Without a copy of the maps, which the network computes anyway.
            found = self._request.infer([part], share_inputs=True, share_outputs=True)
            parts.append([found[i].copy() for i in range(wanted)])
        return Outputs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@cache
def _core() -> ov.Core:
    """The process's only one.

    Each makes the thread handle signals on a stack of its own, which it unmaps at its end. When of two
    the first ends first, the second puts that stack back, and the next signal ends the process: Ctrl-C,
    or a child's end.
    """
    return ov.Core()


def write_graph(bundle: Bundle, path: Path) -> None:
    """Convert the bundle's network and write it to `path`, an `.xml`, and its weights beside it."""
    save(convert(bundle), path)


def save(graph: ov.Model, path: Path) -> None:
    """Write a graph to `path`, an `.xml`, and its weights beside it, as they are."""
    ov.save_model(graph, path, compress_to_fp16=False)


def convert(bundle: Bundle) -> ov.Model:
    """Convert the bundle's network, with its normalisation and layout."""
    import torch
    from openvino.preprocess import PrePostProcessor

    from model.network import AllOutputs

    preprocessing = bundle.spec.preprocessing
    size = preprocessing.size
    # OpenVINO leaves the batch size open whatever the example's is; with a symbolic one, exporting and
    # converting take three times as long.
    network = AllOutputs(bundle.network).eval()
    exported = torch.export.export(network, (torch.zeros(2, 3, size, size),))
    whole = PrePostProcessor(ov.convert_model(exported))
    photos = whole.input()
    photos.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    photos.model().set_layout(ov.Layout("NCHW"))
    steps = photos.preprocess().convert_element_type(ov.Type.f32)
    steps.mean([255 * mean for mean in preprocessing.mean])
    steps.scale([255 * std for std in preprocessing.std])
    return whole.build()
