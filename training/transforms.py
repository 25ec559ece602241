"""The train and the test transform side by side; both give normalised (3, S, S) float32 tensors.

The train transform is the mission's: resize to 512, random resized crop to 224, flip, rotate, cutout,
normalise. At other sizes the first resize keeps the ratio 512/224.
"""

import os
from collections.abc import Callable

import cv2
import torch
from torch import Tensor

from model.image import RGB
from model.preprocessing import Preprocessing

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the network for a newer version
import albumentations as A

Transform = Callable[[RGB, int], Tensor]

cv2.setNumThreads(1)  # the loaders' processes are the parallelism


def train_transform(preprocessing: Preprocessing) -> Transform:
    """Augment, then what the test transform ends with. The seed decides every random choice."""
    size = preprocessing.size
    before_crop = round(size * 512 / 224)
    augment = A.Compose(
        [
            A.Resize(before_crop, before_crop),
            A.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.85, 1.18)),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=15, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            # Cutout: DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017.
            A.CoarseDropout(
                num_holes_range=(1, 1),
                hole_height_range=(0.1, 0.25),
                hole_width_range=(0.1, 0.25),
                p=0.5,
            ),
        ]
    )

    def transform(rgb: RGB, seed: int) -> Tensor:
        augment.set_random_seed(seed)
        return _tensor(preprocessing, augment(image=rgb)["image"])

    return transform


def test_transform(preprocessing: Preprocessing) -> Transform:
    """Resize as the served model does, normalise."""

    def transform(rgb: RGB, seed: int) -> Tensor:  # noqa: ARG001
        return _tensor(preprocessing, preprocessing.resize(rgb))

    return transform


def _tensor(preprocessing: Preprocessing, rgb: RGB) -> Tensor:
    return torch.from_numpy(preprocessing.normalize(rgb)).permute(2, 0, 1)
