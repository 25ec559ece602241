"""The search finds exactly what comparing all with all finds."""

import itertools

import numpy as np
import pytest

from training.data.prepare.near import MAX_DISTANCE, near_pairs


def hashes_with_neighbours(seed: int, count: int) -> list[str]:
    """Random hashes, each followed by one with 0 to 20 flipped bits."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        bits = rng.integers(0, 2, 256)
        flipped = bits.copy()
        flipped[rng.choice(256, number % 21, replace=False)] ^= 1
        found += [np.packbits(b).tobytes().hex() for b in (bits, flipped)]
    return found


def all_with_all(hashes: list[str], distance: int) -> list[list[int]]:
    numbers = [int(h, 16) for h in hashes]
    pairs = itertools.combinations(range(len(hashes)), 2)
    return [[i, j] for i, j in pairs if (numbers[i] ^ numbers[j]).bit_count() <= distance]


@pytest.mark.parametrize("distance", [0, 1, 12, MAX_DISTANCE])
def test_as_comparing_all_with_all(distance: int) -> None:
    hashes = hashes_with_neighbours(distance, 60)
    found = near_pairs(hashes, distance).tolist()
    assert found == all_with_all(hashes, distance)
    assert len(found) >= 60 * (distance + 1) // 21


def test_flipped_bits_each_in_another_band_are_found() -> None:
    one, two = 0, sum(1 << (16 * band) for band in range(MAX_DISTANCE))
    assert near_pairs([f"{n:064x}" for n in (one, two)], MAX_DISTANCE).tolist() == [[0, 1]]


def test_hashes_all_alike() -> None:
    hashes = ["00" * 32] * 10
    assert near_pairs(hashes, 0).tolist() == all_with_all(hashes, 0)


@pytest.mark.parametrize("hashes", [[], ["ab" * 32]])
def test_nothing_to_compare(hashes: list[str]) -> None:
    assert near_pairs(hashes, 12).shape == (0, 2)
