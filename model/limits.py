"""What a decoded photo is, and what a photo may have at most."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.formats import FORMATS

RGB = npt.NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True)
class PhotoLimits:
    """What a photo may have at most; checked before decoding."""

    max_bytes: int = 20 * 2**20  # size of the file
    max_pixels: int = 50_000_000  # width times height, of all photos of a request together
    max_side: int = 20_000  # width or height, pixels
    # Passes over a progressive JPEG; each costs as much as the whole picture, and a few bytes are enough
    # for one.
    max_scans: int = 20
    max_cpu_s: float = 1.5  # seconds of CPU that decoding may take
    max_wall_s: float = 30.0  # by the clock, where others keep the processor busy
    formats: tuple[str, ...] = FORMATS  # that are read


DEFAULT_LIMITS = PhotoLimits()
