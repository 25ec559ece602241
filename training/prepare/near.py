"""Which of many perceptual hashes differ in a few bits only, without comparing all with all.

Multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): of 16 bands of 16 bits, two hashes that differ
in at most 15 bits have one band alike. So only hashes that share a band are compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

BANDS = 16
MAX_DISTANCE = BANDS - 1
BLOCK = 1024  # hashes compared with as many at once: 8 MiB a word

Pairs = npt.NDArray[np.int64]  # (M, 2), first < second, sorted


def near_pairs(hashes: Sequence[str], distance: int) -> Pairs:
    """Find all pairs that differ in at most `distance` of 256 bits (see `MAX_DISTANCE`)."""
    if not hashes:
        return np.empty((0, 2), np.int64)
    raw = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 32)
    words, bands = raw.view(np.uint64), raw.view(np.uint16)  # (N, 4), (N, 16)
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        for first, second in _candidates(bands[:, band]):
            differing = np.bitwise_count(words[first, None] ^ words[None, second]).sum(axis=2)
            near = np.argwhere(differing <= distance)
            pairs = np.stack([first[near[:, 0]], second[near[:, 1]]], axis=1)
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    return np.unique(np.concatenate(found), axis=0)


def _candidates(
    keys: npt.NDArray[np.uint16],
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield blocks of indices to compare: all pairs with the same key are in one of them."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(keys)), strict=True):
        for i in range(start, end if end - start > 1 else start, BLOCK):
            for j in range(i, end, BLOCK):
                yield order[i : min(i + BLOCK, end)], order[j : min(j + BLOCK, end)]
