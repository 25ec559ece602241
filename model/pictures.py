"""Photos under the heat of an explanation. Needs no PyTorch."""

import cv2
import numpy as np
import numpy.typing as npt

from model.limits import RGB

Heatmap = npt.NDArray[np.float32]  # (h, w), 0 to 1
_OPACITY = 0.5  # of the heat over the photo


def overlay(photo: RGB, heatmap: Heatmap) -> RGB:
    """Lay the heat over an (H, W, 3) photo, from blue (cold) to red."""
    height, width = photo.shape[:2]
    heat = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)  # (H, W)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]  # BGR
    mixed = (1 - _OPACITY) * photo + _OPACITY * colours  # (H, W, 3)
    return mixed.astype(np.uint8)


def overlay_png(photo: RGB, heatmap: Heatmap) -> bytes:
    """The overlay of a photo, as a PNG; packed harder it would cost more than the prediction."""
    _, png = cv2.imencode(".png", overlay(photo, heatmap)[:, :, ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 1))
    return png.tobytes()
