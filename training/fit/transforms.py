"""The train and the test transform side by side; both give (S, S, 3) uint8 pixels for `Normalize`.

The train transform is the mission's: resize to 512, random resized crop to 224, cutout, flip, rotate,
normalise. At other sizes the first resize keeps the ratio 512/224. A smaller photo is made square, but
not enlarged to more than the network's input only to be made smaller again.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from model.limits import RGB
from model.preprocessing import Preprocessing

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the network for a newer version
import albumentations as A

Transform = Callable[[RGB, int], RGB]

cv2.setNumThreads(1)  # the loaders' processes are the parallelism


@dataclass(frozen=True)
class Augmentation:
    """How far photos are changed at random."""

    area: tuple[float, float]  # of the photo, that is cropped
    ratio: tuple[float, float]  # of its sides
    # Cutout (DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017): how many holes,
    # what share of the photo's side theirs have, and the share of photos that get any.
    holes: int
    hole: tuple[float, float]
    holed: float
    degrees: int  # that it is rotated by at most
    rotated: float  # share of photos that are


AUGMENTATIONS = {
    "mission": Augmentation((0.08, 1), (0.75, 1.33), 2, (8 / 224, 8 / 224), 1, 30, 1),
    "mild": Augmentation((0.7, 1), (0.85, 1.18), 1, (0.1, 0.25), 0.5, 15, 0.5),
}


def before_crop(preprocessing: Preprocessing) -> int:
    """Side in pixels that photos are resized to before they are cropped at random."""
    return round(preprocessing.size * 512 / 224)


def train_transform(preprocessing: Preprocessing, augment: str = "mild") -> Transform:
    """Augment; "none" doesn't. The seed decides every random choice."""
    if augment == "none":
        return test_transform(preprocessing)
    how = AUGMENTATIONS[augment]
    size, side = preprocessing.size, before_crop(preprocessing)
    steps = A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=how.area, ratio=how.ratio),
            A.CoarseDropout(
                num_holes_range=(how.holes, how.holes),
                hole_height_range=how.hole,
                hole_width_range=how.hole,
                fill=tuple(round(255 * mean) for mean in preprocessing.mean),
                p=how.holed,
            ),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=how.degrees, border_mode=cv2.BORDER_REFLECT_101, p=how.rotated),
        ]
    )

    def transform(rgb: RGB, seed: int) -> RGB:
        # Not set_random_seed: it gives each step the same seed, so a photo gets all of them or none.
        steps.set_random_state(np.random.default_rng(seed), random.Random(seed))
        square = min(side, max(size, *rgb.shape[:2]))
        resized = cv2.resize(rgb, (square, square), interpolation=cv2.INTER_LINEAR)
        return np.asarray(steps(image=resized)["image"], dtype=np.uint8)

    return transform


def test_transform(preprocessing: Preprocessing) -> Transform:
    """Resize as the served model does."""

    def transform(rgb: RGB, seed: int) -> RGB:  # noqa: ARG001
        return preprocessing.resize(rgb)

    return transform


class Normalize(nn.Module):
    """`Preprocessing.normalize` for a batch on any device; a test checks that both agree to the bit."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        """Take the mean and deviation."""
        super().__init__()
        self._mean: Tensor
        self._scale: Tensor
        self.register_buffer("_mean", torch.tensor(preprocessing.mean) * 255)
        self.register_buffer("_scale", 1 / (torch.tensor(preprocessing.std) * 255))

    def forward(self, photos: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 -> (N, 3, S, S) float32, channels last in memory."""
        return ((photos.float() - self._mean) * self._scale).permute(0, 3, 1, 2)
