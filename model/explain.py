"""Where the network looked: Grad-CAM on its last feature block.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
ICCV 2017.
"""

import io
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from model.image import RGB

if TYPE_CHECKING:  # as in `model.bundle`
    from model.network import Network

Heatmap = npt.NDArray[np.float32]  # (h, w), 0 to 1
_OPACITY = 0.5  # of the heat over the photo


def grad_cam(network: "Network", photos: Tensor) -> Tensor:
    """(N, 3, S, S) normalised photos -> (N, S/32, S/32) heat of each one's best class, 0 to 1.

    The score is the one before the softmax, as in the paper. A class that nothing speaks for gives
    a map of zeros.
    """
    with torch.no_grad():
        maps = network.features(photos)  # (N, 1280, h, w)
    with torch.enable_grad():
        maps = maps.requires_grad_()
        scores = network.head[:-1](maps.mean(dim=(2, 3)))  # (N, classes), without the log-softmax
        (gradient,) = torch.autograd.grad(scores.max(dim=1).values.sum(), maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (N, 1280, 1, 1)
    heat = (weights * maps.detach()).sum(dim=1).relu()  # (N, h, w)
    hottest = heat.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)
    return cast(Tensor, heat / hottest)


def overlay_png(photo: RGB, heatmap: Heatmap) -> bytes:
    """Lay the heat over an (S, S, 3) photo, from blue (cold) to red, as a PNG."""
    height, width = photo.shape[:2]
    heat = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)  # (S, S)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]  # BGR
    mixed = (1 - _OPACITY) * photo + _OPACITY * colours  # (S, S, 3)
    file = io.BytesIO()
    Image.fromarray(mixed.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
