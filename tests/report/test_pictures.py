"""Photos in pages."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.limits import RGB
from report.pictures import data_url, jpeg_url, read_scaled, scale_to_fit, thumbnail


def pixels_of(url: str) -> RGB:
    kind, content = url.split(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def photo(path: Path, size: tuple[int, int], **options: object) -> Path:
    Image.new("RGB", size, (200, 100, 50)).save(path, **options)
    return path


def test_a_file_as_an_address() -> None:
    assert data_url(b"a,b", "text/csv") == "data:text/csv;base64,YSxi"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((100, 50), (40, 20)), ((10, 20), (20, 40)), ((1, 2000), (1, 40)), ((40, 40), (40, 40))],
)
def test_the_longer_side_is_as_asked(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scale_to_fit(np.zeros((*shape, 3), np.uint8), 40).shape == (*expected, 3)


def test_a_photo_in_a_page_is_the_photo() -> None:
    wide = np.full((30, 100, 3), (200, 100, 50), np.uint8)
    for pixels in (wide, wide[:, ::2]):  # not in one piece of memory
        back = pixels_of(jpeg_url(pixels)).astype(int)
        assert back.shape == pixels.shape
        assert np.abs(back - pixels).max() <= 3


def test_a_thumbnail_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    turned = photo(tmp_path / "a.jpg", (200, 100), exif=exif)
    assert pixels_of(thumbnail(turned, 50) or "").shape == (50, 25, 3)


@pytest.mark.parametrize("suffix", ["png", "webp", "avif", "tiff"])
def test_thumbnails_of_every_kind(tmp_path: Path, suffix: str) -> None:
    url = thumbnail(photo(tmp_path / f"a.{suffix}", (64, 32)), 40)
    assert pixels_of(url or "").shape == (20, 40, 3)


def test_what_cannot_be_shown_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(21 * 2**20)
    for name in ("damaged.jpg", "large.jpg", "missing.jpg", ""):
        assert thumbnail(tmp_path / name, 40) is None, name
    assert read_scaled(b"", 40) is None
