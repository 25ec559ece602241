"""Formats told by their first bytes, and JPEGs that only look harmless."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from benchmarks.reliability.hostile import scan_bomb
from model.errors import PhotoError, PhotoTooLarge, UnreadableImage, UnsupportedFormat
from model.formats import FORMATS, SUFFIXES, format_of
from model.image import decode_photo
from model.limits import PhotoLimits


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF89a", "GIF"),
        (b"MM\x00*", "TIFF"),
        (b"II+\x00", "TIFF"),
        (b"RIFF\n\n\n\nWEBPVP8 ", "WEBP"),
        (b"RIFF\n\n\n\nWAVEfmt ", None),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x00\x00\x00\x18ftypheic", "HEIF"),
        (b"\x00\x00\x00\x18ftypmp42", None),
        (b"", None),
    ],
)
def test_format_of(start: bytes, name: str | None) -> None:
    assert format_of(start) == name


def test_every_format_has_its_suffixes() -> None:
    assert set(FORMATS) <= set(SUFFIXES)


@pytest.mark.skipif("HEIF" in FORMATS, reason="pillow-heif is installed")
def test_a_format_without_its_library_is_named() -> None:
    with pytest.raises(UnsupportedFormat, match="a HEIF, which can't be read here; send one of JPEG"):
        decode_photo(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00")


@pytest.mark.skipif("AVIF" not in FORMATS, reason="Pillow was built without AVIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_upright(orientation: int) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file, plain = io.BytesIO(), io.BytesIO()
    image.save(plain, "PNG", exif=exif)
    image.save(file, "AVIF", quality=95, exif=exif)  # takes the tag out of `exif`
    expected = np.asarray(ImageOps.exif_transpose(Image.open(plain))).astype(int)
    assert np.abs(decode_photo(file.getvalue()).astype(int) - expected).mean() < 3


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("cut", [1, 2, 3, 40])
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(mode: str, progressive: bool, cut: int) -> None:
    file = io.BytesIO()
    Image.radial_gradient("L").convert(mode).save(file, "JPEG", progressive=progressive)
    assert decode_photo(file.getvalue()).shape == (256, 256, 3)
    with pytest.raises(UnreadableImage, match="can't be decoded to its end"):
        decode_photo(file.getvalue()[:-cut])


def test_ycck_is_decoded_as_pillow_does() -> None:
    image = Image.radial_gradient("L").convert("RGB").convert("CMYK")
    inverted = np.ascontiguousarray(255 - np.asarray(image))
    data = simplejpeg.encode_jpeg(inverted, 95, "CMYK", "420")
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_photo(data), expected)


def test_scans_are_counted_to_the_pictures_end(jpeg: Callable[..., bytes]) -> None:
    with pytest.raises(PhotoTooLarge, match="more than 20 scans, 20 are allowed"):
        decode_photo(scan_bomb())
    photo = jpeg(progressive=True)
    trailer = b"\xff\xda video" * 1000  # such as a phone's motion photo
    assert np.array_equal(decode_photo(photo + trailer), decode_photo(photo))
    with pytest.raises(PhotoTooLarge, match="more than 3 scans"):
        decode_photo(photo, PhotoLimits(max_scans=3))
    assert decode_photo(photo, PhotoLimits(max_scans=photo.count(b"\xff\xda"))).any()


def test_a_sequential_photo_cannot_smuggle_scans(jpeg: Callable[..., bytes]) -> None:
    """They aren't counted where all components come in one scan, as the decoder takes no further one."""
    photo = jpeg()
    scan = photo[photo.index(b"\xff\xda") : -2]
    with pytest.raises(UnreadableImage, match="more than one scan"):
        decode_photo(photo[:-2] + 30 * scan + photo[-2:])


def test_scans_cannot_be_hidden_behind_a_marker_without_a_length() -> None:
    bomb = scan_bomb()
    start = bomb.index(b"\xff\xda")
    with pytest.raises(PhotoError):
        decode_photo(bomb[:start] + b"\xff\x01" + bomb[start:])


STARTS = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\x00", b"RIFF\n\n\n\nWEBP"]


@given(start=st.sampled_from([b"", *STARTS]), rest=st.binary(max_size=300))
def test_any_bytes_are_a_photo_or_an_error_of_the_sender(start: bytes, rest: bytes) -> None:
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of damaged metadata
        try:
            pixels = decode_photo(start + rest)
        except PhotoError:
            return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


@given(data=st.data())
def test_any_change_of_a_photo_is_a_photo_or_an_error_of_the_sender(data: st.DataObject) -> None:
    file = io.BytesIO()
    name = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]))
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(file, name)
    content = bytearray(file.getvalue())
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))
    ):
        content[at] = value
    with warnings.catch_warnings(action="ignore"):
        try:
            pixels = decode_photo(content)
        except PhotoError:
            return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
