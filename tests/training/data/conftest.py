"""Small piles of photos to prepare."""

import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

MakePile = Callable[[Mapping[str, bytes]], Path]


@pytest.fixture
def pile(tmp_path: Path) -> MakePile:
    """Write files by their path below a source folder, and return the folder."""

    def make(files: Mapping[str, bytes]) -> Path:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        for name, content in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return source

    return make


@pytest.fixture
def photos(jpeg: Callable[..., bytes]) -> Callable[..., dict[str, bytes]]:
    """Different photos by path: `photos("a/", 3)` are a/0.jpg to a/2.jpg."""

    def make(prefix: str, count: int) -> dict[str, bytes]:
        start = zlib.crc32(os.fsencode(prefix))
        return {f"{prefix}{i}.jpg": jpeg(start + i) for i in range(count)}

    return make
