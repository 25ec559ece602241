"""Where the network looked: Grad-CAM on its last feature block.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
ICCV 2017.
"""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:  # as in `model.bundle`
    from model.network import Network


def grad_cam(network: "Network", photos: Tensor) -> Tensor:
    """(N, 3, S, S) normalised photos -> (N, S/32, S/32) heat of each one's best class, 0 to 1.

    The score is the one before the softmax, as in the paper. A class that nothing speaks for gives
    a map of zeros.
    """
    with torch.no_grad():
        maps = network.features(photos)  # (N, 1280, h, w)
    with torch.enable_grad():
        maps = maps.requires_grad_()
        scores = network.scores(maps)  # (N, classes)
        (gradient,) = torch.autograd.grad(scores.max(dim=1).values.sum(), maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (N, 1280, 1, 1)
    heat = (weights * maps.detach()).sum(dim=1).relu()  # (N, h, w)
    hottest = heat.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)
    return cast(Tensor, heat / hottest)
