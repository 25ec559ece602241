"""Decoding: every format as Pillow reads it, upright, and a clear refusal of everything else."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from model.errors import PhotoTooLarge, UnreadableImage, UnsupportedFormat
from model.formats import FORMATS
from model.image import decode_photo
from model.limits import PhotoLimits

Bytes = Callable[..., bytes]


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def pattern(mode: str = "RGB", width: int = 24, height: int = 16) -> Image.Image:
    """Random pixels, so that every flip and rotation shows."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def smooth(mode: str = "RGB") -> Image.Image:
    """Pixels that survive a JPEG."""
    return pattern("RGB", 4, 3).resize((64, 48), Image.Resampling.BICUBIC).convert(mode)


@pytest.mark.parametrize(
    ("chunk", "mode", "lossless"),
    [(b"VP8 ", "RGB", False), (b"VP8L", "RGB", True), (b"VP8X", "RGBA", False)],
)
def test_a_webp_is_held_against_the_limits_before_pillow_makes_room_for_it(
    monkeypatch: pytest.MonkeyPatch, chunk: bytes, mode: str, lossless: bool
) -> None:
    image = pattern(width=40, height=30).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    data = encode(image, "WEBP", lossless=lossless)
    assert data[12:16] == chunk
    assert decode_photo(data, PhotoLimits(max_side=40)).shape == (30, 40, 3)
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(PhotoTooLarge, match="the photo has 40 x 30 pixels"):
        decode_photo(data, PhotoLimits(max_side=39))


def header_of_png(width: int, height: int) -> bytes:
    """A valid PNG as far as its header goes, in 57 bytes; the pixels are missing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_decoded_as_pillow_does(mode: str) -> None:
    data = encode(smooth(mode), "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_photo(data), expected)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}])
def test_kinds_of_jpeg(options: dict[str, object]) -> None:
    data = encode(smooth(), "JPEG", quality=95, **options)
    difference = decode_photo(data).astype(int) - np.asarray(smooth()).astype(int)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize(
    ("at_least", "height"),
    [(0, 509), (509, 509), (255, 509), (254, 255), (128, 255), (127, 128), (20, 64)],
)
def test_a_jpeg_of_twice_the_size_is_decoded_smaller(at_least: int, height: int) -> None:
    photo = smooth().resize((770, 509), Image.Resampling.BICUBIC)
    decoded = decode_photo(encode(photo, "JPEG", quality=95), at_least=at_least)
    width = -(-770 // round(509 / height))
    assert decoded.shape == (height, width, 3)
    expected = np.asarray(photo.resize((width, height), Image.Resampling.BOX))
    assert np.abs(decoded.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("lost", [1, 100, 10_000])
def test_a_jpeg_decoded_smaller_must_be_whole_too(lost: int) -> None:
    data = encode(pattern("RGB", 400, 400), "JPEG")
    with pytest.raises(UnreadableImage):
        decode_photo(data[:-lost], at_least=100)


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_exact_pixels(name: str) -> None:
    options = {"lossless": True} if name == "WEBP" else {}
    pixels = decode_photo(encode(pattern(), name, **options))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.asarray(pattern()))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_and_palettes(name: str, mode: str) -> None:
    data = encode(pattern(mode), name)
    assert np.array_equal(decode_photo(data), np.asarray(pattern(mode).convert("RGB")))


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_over_white(name: str) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 51)]  # opaque, clear, a fifth black
    options = {"lossless": True, "exact": True} if name == "WEBP" else {}
    pixels = decode_photo(encode(Image.fromarray(rgba), name, **options))
    assert pixels.tolist() == [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]]


def test_a_transparent_palette_colour_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    pixels = decode_photo(encode(image, "PNG", transparency=1))
    assert pixels.tolist() == [[[200, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_to_8(name: str) -> None:
    grey = Image.fromarray(np.array([[0, 256, 257, 65534, 65535]], np.uint16))
    assert decode_photo(encode(grey, name))[0, :, 0].tolist() == [0, 0, 1, 254, 255]


def test_floating_point_pixels_are_refused() -> None:
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(UnsupportedFormat, match="floating-point"):
        decode_photo(encode(image, "TIFF"))


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if name == "WEBP" else {}
    data = encode(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert (decode_photo(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_undone_as_pillow_does(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "WEBP" else {}
    data = encode(smooth(), name, exif=exif, **options)
    image = Image.open(io.BytesIO(data))
    assert image.getexif()[0x0112] == orientation
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((48, 64, 3) if orientation < 5 else (64, 48, 3))
    assert np.array_equal(decode_photo(data), expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_makes_no_sense_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode_photo(encode(pattern(), "PNG", exif=exif)), np.asarray(pattern()))


def test_damaged_exif_does_not_cost_the_photo(jpeg: Bytes) -> None:
    data = jpeg(exif=b"Exif\x00\x00" + b"\xff" * 40)
    assert np.array_equal(decode_photo(data), decode_photo(jpeg()))


@pytest.mark.parametrize("name", FORMATS)
def test_cut_short_is_unreadable(name: str) -> None:
    data = encode(pattern("RGB", 200, 200), name)
    for length in (len(data) // 2, 650):  # a JPEG that ends in its tables is another case
        with pytest.raises(UnreadableImage) as error:
            decode_photo(data[: min(length, len(data) - 40)])
        assert name in str(error.value)
        assert " object at 0x" not in str(error.value)  # which would be another message each time
        assert error.value.status == 400


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_header_is_unreadable(name: str) -> None:
    data = encode(pattern(), name)
    with pytest.raises(UnreadableImage, match=name):
        decode_photo(data[:12])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"no photo, only words", id="text"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", id="PDF"),
        pytest.param(b"\x00" * 1000, id="zeros"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00", id="WAV, a RIFF as WebP is"),
        pytest.param(encode(Image.new("RGB", (4, 4)), "PPM"), id="PPM"),
    ],
)
def test_what_is_no_photo_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="is no photo; send one of JPEG, PNG") as error:
        decode_photo(data)
    assert error.value.status == 415


def test_no_bytes_are_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        decode_photo(b"")


def test_a_bytearray_is_as_good_as_bytes(jpeg: Bytes) -> None:
    assert np.array_equal(decode_photo(bytearray(jpeg())), decode_photo(jpeg()))


@pytest.mark.parametrize(
    ("limits", "value", "limit"),
    [
        (PhotoLimits(max_pixels=24 * 16 - 1), "24 x 16", "383"),
        (PhotoLimits(max_side=23), "24 x 16", "23"),
    ],
)
def test_over_a_limit(limits: PhotoLimits, value: str, limit: str) -> None:
    with pytest.raises(PhotoTooLarge) as error:
        decode_photo(encode(pattern(), "PNG"), limits)
    assert value in str(error.value)
    assert limit in str(error.value)
    assert error.value.status == 413


def test_over_the_limit_on_bytes(jpeg: Bytes) -> None:
    data = jpeg()
    with pytest.raises(PhotoTooLarge, match=f"{len(data)} bytes, .*{len(data) - 1} "):
        decode_photo(data, PhotoLimits(max_bytes=len(data) - 1))


def test_at_the_limits_is_fine() -> None:
    data = encode(pattern(), "PNG")
    limits = PhotoLimits(max_bytes=len(data), max_pixels=24 * 16, max_side=24)
    assert decode_photo(data, limits).shape == (16, 24, 3)


@pytest.mark.parametrize("side", [8_000, 10_000, 60_000])
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")  # as outside tests
def test_a_decompression_bomb_is_refused_from_its_header(side: int) -> None:
    """Limits refuse it below Pillow's own threshold, above where it warns, and where it raises."""
    with pytest.raises(PhotoTooLarge, match="50000000"):
        decode_photo(header_of_png(side, side))


def test_decoding_makes_no_views_that_torch_cannot_take() -> None:
    exif = Image.Exif()
    exif[0x0112] = 7
    assert decode_photo(encode(pattern(), "PNG", exif=exif)).flags.c_contiguous
