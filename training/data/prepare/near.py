"""Which of many perceptual hashes differ in a few bits only, without comparing all with all.

Multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): of 16 bands of 16 bits, two hashes that differ
in at most 15 bits have one band alike. So only hashes that share a band are compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

BANDS = 16
MAX_DISTANCE = BANDS - 1

Indices = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.int64]  # (M, 2), first < second, sorted


def near_pairs(hashes: Sequence[str], distance: int) -> Pairs:
    """Find all pairs that differ in at most `distance` of 256 bits (see `MAX_DISTANCE`)."""
    if not hashes:
        return np.empty((0, 2), np.int64)
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 32)
    words, bands = raw.view(np.uint64), raw.view(np.uint16)  # (N, 4), (N, 16)
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        for first, second in _alike(bands[:, band]):
            differing = np.bitwise_count(words[first] ^ words[second]).sum(axis=1)
            near = differing <= distance
            found.append(np.stack([first[near], second[near]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _alike(keys: npt.NDArray[np.uint16]) -> Iterator[tuple[Indices, Indices]]:
    """Yield all pairs of indices with the same key, each once, the first smaller than the second."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    places, step = np.arange(len(keys)), 1
    while len(places):  # those whose neighbour `step` further on has the same key still
        places = places[places + step < len(keys)]
        places = places[ordered[places] == ordered[places + step]]
        yield order[places], order[places + step]
        step += 1
