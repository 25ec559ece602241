"""The train transform: random, and every choice is the seed's."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from model.image import decode_photo
from model.limits import RGB
from model.preprocessing import Preprocessing
from training.fit.settings import AUGMENTATIONS
from training.fit.transforms import before_crop, train_transform
from training.fit.transforms import test_transform as eval_transform


def hole_share(rgb: RGB) -> float:
    """Share of a photo of pure blue that is of the mean colour of ImageNet's."""
    return float((np.abs(rgb[:, :, 2].astype(int) - 104) <= 2).mean())


PHOTO = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("size", [32, 64, 224])
def test_both_give_pixels_of_the_same_kind(size: int, augment: str) -> None:
    preprocessing = Preprocessing(size)
    for transform in (train_transform(preprocessing, augment), eval_transform(preprocessing)):
        pixels = transform(PHOTO, 0)
        assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
        assert 60 < pixels.mean() < 190


def test_what_is_cropped_is_512_pixels_wide_for_a_network_of_224() -> None:
    assert [before_crop(Preprocessing(size)) for size in (224, 112)] == [512, 256]


def test_the_seed_decides() -> None:
    transform = train_transform(Preprocessing(64))
    first = transform(PHOTO, 7)
    assert not np.array_equal(transform(PHOTO, 8), first)
    assert np.array_equal(transform(PHOTO, 7), first)  # whatever came in between
    assert np.array_equal(train_transform(Preprocessing(64))(PHOTO, 7), first)


def test_the_test_transform_is_the_same_whatever_the_seed() -> None:
    transform = eval_transform(Preprocessing(64))
    assert np.array_equal(transform(PHOTO, 1), transform(PHOTO, 2))


def test_training_sees_other_pixels_than_testing() -> None:
    plain = eval_transform(Preprocessing(64))(PHOTO, 0)
    transform = train_transform(Preprocessing(64))
    seen = [transform(PHOTO, seed) for seed in range(20)]
    assert all((one != plain).mean() > 0.5 for one in seen)  # cropped: every pixel moves


def test_about_half_are_flipped_and_some_have_holes() -> None:
    """On a photo that is dark on its left and bright on its right, and blue where holes are not."""
    photo = np.full((128, 128, 3), 255, np.uint8)
    photo[:, :, 0] = np.linspace(0, 100, 128, dtype=np.uint8)
    transform = train_transform(Preprocessing(64), "mild")
    seen = [transform(photo, seed) for seed in range(60)]
    flipped = np.array([rgb[:, :16, 0].mean() > rgb[:, -16:, 0].mean() for rgb in seen])
    holes = np.array([hole_share(rgb) >= 0.01 for rgb in seen])
    assert 15 < flipped.sum() < 45
    assert 15 < holes.sum() < 45
    assert 5 < (flipped & ~holes).sum() < 25  # each is decided for itself
    assert 5 < (holes & ~flipped).sum() < 25


def test_the_missions_is_stronger_and_always_has_holes_of_the_mean_colour() -> None:
    photo = np.full((128, 128, 3), 255, np.uint8)
    transform = train_transform(Preprocessing(224), "mission")
    shares = [hole_share(transform(photo, seed)) for seed in range(30)]
    two = 2 * 64 / 224**2  # of 8 x 8; rotated, a hole may have left the photo or be mirrored
    assert 0.7 * two < np.median(shares) < 1.3 * two
    assert sum(share > 0.3 * two for share in shares) >= 25
    # Of a photo whose red rises from left to right, much less is seen at a time.
    photo[:, :, 0] = np.linspace(0, 255, 128, dtype=np.uint8)
    spans = {
        name: np.mean(
            [np.ptp(train_transform(Preprocessing(64), name)(photo, s)[32, :, 0]) for s in range(60)]
        )
        for name in AUGMENTATIONS
    }
    assert spans["mission"] < 0.85 * spans["mild"] < 0.85 * spans["none"]


def test_none_is_what_is_evaluated() -> None:
    preprocessing = Preprocessing(64)
    plain = eval_transform(preprocessing)(PHOTO, 0)
    assert np.array_equal(train_transform(preprocessing, "none")(PHOTO, 5), plain)


def test_a_small_photo_is_augmented_as_if_it_had_been_enlarged_first() -> None:
    """What leaving out the enlarging to 512 changes is the sharpness of single pixels."""
    smooth = cv2.resize(PHOTO[:6, :8], (80, 60), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(smooth, (512, 512), interpolation=cv2.INTER_LINEAR)
    transform = train_transform(Preprocessing(224))
    apart = [np.abs(transform(smooth, s).astype(int) - transform(large, s)).mean() for s in range(8)]
    assert max(apart) < 6


def test_a_photo_on_disk_goes_through_the_same_path_as_a_served_one(dataset: Path) -> None:
    preprocessing = Preprocessing(64)
    rgb = decode_photo(next((dataset / "test").rglob("*.jpg")).read_bytes())
    assert np.array_equal(eval_transform(preprocessing)(rgb, 0), preprocessing.resize(rgb))
