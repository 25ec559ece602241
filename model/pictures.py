"""Photos as people look at them: scaled, under their heat, in a page. Needs no PyTorch."""

import base64
import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from model.image import RGB

Heatmap = npt.NDArray[np.float32]  # (h, w), 0 to 1
_OPACITY = 0.5  # of the heat over the photo
_QUALITY = 84  # of a JPEG in a page


def overlay(photo: RGB, heatmap: Heatmap) -> RGB:
    """Lay the heat over an (H, W, 3) photo, from blue (cold) to red."""
    height, width = photo.shape[:2]
    heat = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)  # (H, W)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]  # BGR
    mixed = (1 - _OPACITY) * photo + _OPACITY * colours  # (H, W, 3)
    return mixed.astype(np.uint8)


def overlay_png(photo: RGB, heatmap: Heatmap) -> bytes:
    """The overlay of a photo, as a PNG."""
    file = io.BytesIO()
    Image.fromarray(overlay(photo, heatmap)).save(file, "PNG")
    return file.getvalue()


def fitted(pixels: RGB, side: int) -> RGB:
    """Bring the longer side to `side` pixels; small photos are enlarged."""
    scale = side / max(pixels.shape[:2])
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]  # width, height
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def jpeg_url(pixels: RGB) -> str:
    """The photo as the source of an HTML image, without a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
