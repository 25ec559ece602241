"""From RGB pixels to what the network reads: the test transform, written once.

`Resize -> Normalize` gives what Albumentations gives with its defaults, to the bit (a test holds one
against the other). The parameters travel with the weights in the bundle.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from model.errors import InputError
from model.image import decode_photo
from model.limits import DEFAULT_LIMITS, RGB, PhotoLimits

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_SIZE, MAX_SIZE = 32, 1024


@dataclass(frozen=True)
class Preprocessing:
    """Parameters of the test transform.

    Attributes:
        size: side in pixels of the square that the photo is resized to, aspect ratio not kept.
        mean: of each channel, for pixels in 0..1; the default is ImageNet's.
        std: as `mean`.
    """

    size: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Refuse what can't be computed with."""
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InputError(f"size {self.size} must be from {MIN_SIZE} to {MAX_SIZE} pixels")
        three = len(self.mean) == len(self.std) == 3
        if not three or not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise InputError(
                f"mean {self.mean} and std {self.std} must be three numbers each, std above 0"
            )

    def load(self, photo: bytes | bytearray, limits: PhotoLimits = DEFAULT_LIMITS) -> RGB:
        """Decode a photo and resize it to (size, size, 3) uint8; raises `PhotoError`.

        This is how a photo comes to every test transform: evaluation's, the handler's, any other's.
        """
        return self.resize(decode_photo(photo, limits, at_least=self.size))

    def resize(self, rgb: RGB) -> RGB:
        """(H, W, 3) uint8 -> (size, size, 3) uint8, bilinear."""
        resized = cv2.resize(rgb, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, dtype=np.uint8)

    def normalize(self, rgb: RGB) -> npt.NDArray[np.float32]:
        """(..., 3) uint8 -> (..., 3) float32 with about zero mean and unit deviation."""
        mean = np.asarray(self.mean, np.float32) * 255
        scale = np.float32(1) / (np.asarray(self.std, np.float32) * 255)
        normalized: npt.NDArray[np.float32] = (rgb.astype(np.float32) - mean) * scale
        return normalized
