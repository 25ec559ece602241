"""The C library's allocator: whether what is freed goes back to the system."""

import ctypes

# glibc's malloc.h; mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_LARGE_BYTES = 4 * 2**20  # the pixels of an ordinary photo, decoded for a network, are less


def keep_memory() -> None:
    """Keep what is freed for the next allocation, for work that repeats itself step by step."""
    _mallopt(_M_TRIM_THRESHOLD, -1)
    _mallopt(_M_MMAP_MAX, 0)


def return_memory() -> None:
    """Return each large block when it is freed.

    glibc does so at first, but raises what it takes for large, up to 32 MB, with each one that it frees.
    """
    _mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _mallopt(parameter: int, value: int) -> None:
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # other C libraries have none
        mallopt(parameter, value)
