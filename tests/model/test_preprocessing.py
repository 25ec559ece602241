"""The test transform, compared with Albumentations' own."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import numpy as np
import pytest
import torch
from albumentations.pytorch import ToTensorV2

from model.errors import InputError
from model.preprocessing import Preprocessing
from training.fit.transforms import Normalize
from training.fit.transforms import test_transform as eval_transform

SIZES = [(1, 1), (7, 300), (32, 32), (63, 65), (480, 640), (901, 333)]


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("shape", SIZES)
def test_resize_equals_albumentations_to_the_bit(shape: tuple[int, int], size: int) -> None:
    ours = Preprocessing(size).resize(photo(*shape))
    theirs = A.Resize(size, size)(image=photo(*shape))["image"]
    assert ours.shape == (size, size, 3)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("shape", SIZES)
def test_whole_transform_equals_albumentations(shape: tuple[int, int]) -> None:
    preprocessing = Preprocessing(64)
    resized = torch.from_numpy(eval_transform(preprocessing)(photo(*shape), 0))
    (ours,) = Normalize(preprocessing)(resized[None])
    theirs = A.Compose([A.Resize(64, 64), A.Normalize(), ToTensorV2()])(image=photo(*shape))["image"]
    assert (ours.shape, ours.dtype) == ((3, 64, 64), torch.float32)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_normalize_exactly() -> None:
    preprocessing = Preprocessing(32, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    pixel = np.array([[[255, 255, 0]]], np.uint8)
    assert preprocessing.normalize(pixel).tolist() == [[[1.0, 1.0, -4.0]]]


def test_normalize_takes_a_batch() -> None:
    batch = np.stack([photo(32, 32), photo(33, 32)[:32]])
    whole = Preprocessing(32).normalize(batch)
    for row, one in zip(whole, batch, strict=True):
        assert np.array_equal(row, Preprocessing(32).normalize(one))


@pytest.mark.parametrize("size", [31, 0, -224, 1025])
def test_a_size_that_does_not_work_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"size {size} must be from 32 to 1024"):
        Preprocessing(size)


@pytest.mark.parametrize("wrong", [{"std": (0.2, 0.0, 0.2)}, {"mean": (0.5,)}, {"std": (1, 1, 1, 1)}])
def test_mean_and_std_must_be_three_numbers(wrong: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(InputError, match="three numbers each"):
        Preprocessing(64, **wrong)
