"""Photos in pages: scaled to fit, and as the sources of images without a file. Needs no PyTorch."""

import base64
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from model.errors import PhotoError
from model.image import decode_photo
from model.limits import DEFAULT_LIMITS, RGB

_QUALITY = 84  # of a JPEG in a page


def data_url(content: bytes, kind: str = "image/jpeg") -> str:
    """The bytes of a file as an address of their own."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def jpeg_url(pixels: RGB) -> str:
    """An (H, W, 3) photo as the source of an HTML image."""
    whole = np.ascontiguousarray(pixels)
    return data_url(simplejpeg.encode_jpeg(whole, quality=_QUALITY, colorsubsampling="420"))


def scale_to_fit(pixels: RGB, side: int) -> RGB:
    """Bring the longer side to `side` pixels; small photos are enlarged."""
    scale = side / max(pixels.shape[:2])
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]  # width, height
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)


def read_scaled(content: bytes, side: int) -> RGB | None:
    """Decode a photo, upright, and scale it to fit; None if it can't be read."""
    try:
        return scale_to_fit(decode_photo(content, at_least=side), side)
    except PhotoError:
        return None


def thumbnail(path: Path, side: int) -> str | None:
    """A file's photo, small, as the source of an HTML image; None if it can't be shown (any more)."""
    try:
        if not path.is_file() or path.stat().st_size > DEFAULT_LIMITS.max_bytes:
            return None
        pixels = read_scaled(path.read_bytes(), side)
    except OSError:
        return None
    return None if pixels is None else jpeg_url(pixels)
