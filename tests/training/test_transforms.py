"""The train transform: random, and every choice is the seed's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.image import decode_photo
from model.preprocessing import Preprocessing
from training.transforms import test_transform as eval_transform
from training.transforms import train_transform

PHOTO = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_both_give_normalised_tensors_of_the_same_kind(size: int) -> None:
    for make in (train_transform, eval_transform):
        tensor = make(Preprocessing(size))(PHOTO, 0)
        assert (tensor.shape, tensor.dtype) == ((3, size, size), torch.float32)
        assert abs(tensor.mean()) < 1.5


def test_the_seed_decides() -> None:
    transform = train_transform(Preprocessing(64))
    first = transform(PHOTO, 7)
    assert not torch.equal(transform(PHOTO, 8), first)
    assert torch.equal(transform(PHOTO, 7), first)  # whatever came in between
    assert torch.equal(train_transform(Preprocessing(64))(PHOTO, 7), first)


def test_the_test_transform_is_the_same_whatever_the_seed() -> None:
    transform = eval_transform(Preprocessing(64))
    assert torch.equal(transform(PHOTO, 1), transform(PHOTO, 2))


def test_training_sees_other_pixels_than_testing() -> None:
    plain = eval_transform(Preprocessing(64))(PHOTO, 0)
    transform = train_transform(Preprocessing(64))
    seen = [transform(PHOTO, seed) for seed in range(20)]
    assert all((one != plain).float().mean() > 0.5 for one in seen)  # cropped: every pixel moves


def test_about_half_are_flipped_and_some_have_holes() -> None:
    """On a photo that is dark on its left and bright on its right, with no black in it."""
    ramp = np.repeat(np.linspace(60, 250, 128, dtype=np.uint8)[None, :, None], 3, axis=2)
    photo = np.repeat(ramp, 128, axis=0)
    preprocessing = Preprocessing(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    transform = train_transform(preprocessing)
    flipped = holes = 0
    for seed in range(60):
        grey = transform(photo, seed)[0]
        flipped += bool(grey[:, :16].mean() > grey[:, -16:].mean())
        holes += bool((grey == 0).float().mean() >= 0.01)
    assert 15 < flipped < 45
    assert 15 < holes < 45


def test_a_photo_on_disk_goes_through_the_same_path_as_a_served_one(dataset: Path) -> None:
    preprocessing = Preprocessing(64)
    rgb = decode_photo(next((dataset / "test").rglob("*.jpg")).read_bytes())
    served = preprocessing.normalize(preprocessing.resize(rgb)).transpose(2, 0, 1)
    assert np.array_equal(eval_transform(preprocessing)(rgb, 0).numpy(), served)
