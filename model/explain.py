"""Where the network looked: Grad-CAM on its last feature block, without gradients by tape.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
ICCV 2017. Behind global average pooling a score's gradient is the same at all places of a map, and
follows from the head's weights (section 3.1 there), so neither PyTorch nor a second pass is needed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from model.outputs import Outputs, Rows

if TYPE_CHECKING:  # as in `model.answers`
    from model.pictures import Heatmap

Head = Sequence[tuple[Rows, Rows]]  # weights (out, in) and biases (out,) of its linear layers, in order


def grad_cam(head: Head, outputs: Outputs) -> "list[Heatmap]":
    """Heat of each photo's best class: (S/32, S/32), 0 to 1, of outputs with maps.

    The score is the one before the softmax, as in the paper. A class that nothing speaks for gives
    a map of zeros.
    """
    if outputs.features is None or outputs.maps is None:
        raise ValueError("an explanation needs the features and their maps")
    *hidden, (weights, _) = head
    slopes = weights[outputs.scores.argmax(axis=1)]  # (N, 256) behind a hidden layer, or (N, 1280)
    for inner, bias in hidden:  # one at most: ReLU lets through what is above 0
        slopes = (slopes * (outputs.features @ inner.T + bias > 0)) @ inner
    # (N, 1280) and (N, 1280, h, w) -> (N, h, w)
    heat = np.maximum(np.einsum("nc,nchw->nhw", slopes, outputs.maps), 0)
    hottest = heat.max(axis=(1, 2), keepdims=True)
    return list(heat / np.maximum(hottest, np.finfo(np.float32).tiny))
