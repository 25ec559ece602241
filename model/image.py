"""From the bytes of a photo to RGB pixels: the only place where photos are decoded.

Pillow reads the header (format, size, mode, orientation), so that limits are checked before a pixel
is decoded. simplejpeg then decodes grey and RGB JPEGs, two to five times faster than Pillow; Pillow
decodes everything else. What counts is the content: file names and content types are ignored.
"""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from model.errors import PhotoTooLarge, UnreadableImage, UnsupportedFormat

RGB = npt.NDArray[np.uint8]  # (H, W, 3)

# First bytes of the supported formats, to tell a damaged photo from something that is no photo.
_MAGIC = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\x00", b"MM\x00*"),
    "WEBP": (b"RIFF",),
}
FORMATS = tuple(_MAGIC)
_PILLOW_FORMATS = (*FORMATS, "MPO")  # MPO: a JPEG followed by more pictures, as phones write it
_ORIENTATION = 0x0112  # the tag's number in the Exif 2.3 standard, section 4.6.4
_BACKGROUND = (255, 255, 255)  # what shows through transparent pixels


@dataclass(frozen=True)
class Limits:
    """What a photo may have at the most; checked from the header, before decoding."""

    max_bytes: int = 20 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 20_000


DEFAULT_LIMITS = Limits()


def decode_photo(data: bytes | bytearray, limits: Limits = DEFAULT_LIMITS) -> RGB:
    """Decode the photo in `data` upright, as (H, W, 3) uint8 RGB.

    The first frame of an animation is taken, and transparency is laid over white.

    Raises:
        UnsupportedFormat: the bytes are no photo in one of `FORMATS`.
        PhotoTooLarge: a limit is exceeded.
        UnreadableImage: the photo is damaged or cut short.
    """
    image = _open(data, limits)
    try:
        if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
            pixels = simplejpeg.decode_jpeg(data, colorspace="RGB")
        else:
            pixels = _decode_with_pillow(image)
    except (UnsupportedFormat, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise UnreadableImage(
            f"the {image.format} photo can't be decoded to its end ({error}); send a complete file"
        ) from error
    return _upright(pixels, _orientation(image))


def _open(data: bytes | bytearray, limits: Limits) -> Image.Image:
    """Read the header and hold it against the limits."""
    if not data:
        raise UnreadableImage("the photo is empty (0 bytes); send the bytes of an image file")
    if len(data) > limits.max_bytes:
        raise PhotoTooLarge(
            f"the photo has {len(data)} bytes, {limits.max_bytes} are allowed; send a smaller one"
        )
    try:
        image = Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoTooLarge(
            f"the photo has far more than {limits.max_pixels} pixels; send a smaller one"
        ) from error
    except Exception as error:  # as above
        raise _unidentified(data) from error
    width, height = image.size
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise PhotoTooLarge(
            f"the photo has {width} x {height} pixels, at most {limits.max_pixels} in all and "
            f"{limits.max_side} on a side are allowed; send a smaller one"
        )
    return image


def format_of(data: bytes | bytearray) -> str | None:
    """Name the one of `FORMATS` that the first bytes promise, whatever follows them."""
    return next((name for name, magics in _MAGIC.items() if bytes(data[:8]).startswith(magics)), None)


def _unidentified(data: bytes | bytearray) -> UnreadableImage | UnsupportedFormat:
    if name := format_of(data):
        return UnreadableImage(f"the photo starts like a {name}, but its header can't be read")
    return UnsupportedFormat(
        f"the data starts with {bytes(data[:12])!r} and is no photo; send one of {', '.join(FORMATS)}"
    )


def _decode_with_pillow(image: Image.Image) -> RGB:
    if image.mode == "F":
        raise UnsupportedFormat("the photo has floating-point pixels; send 8 or 16 bits a channel")
    if image.mode.startswith("I"):  # 16 bits a pixel, in Pillow's "I;16" or its 32-bit "I"
        grey = np.clip(np.asarray(image, dtype=np.int64), 0, 65535) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        under = Image.new("RGBA", over.size, (*_BACKGROUND, 255))
        image = Image.alpha_composite(under, over)
    return np.asarray(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) where there is none or it makes no sense."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF must not cost a readable photo
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: RGB, orientation: int) -> RGB:
    """Undo the camera's rotation: the eight values of Exif 2.3, section 4.6.4."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)  # (H, W, 3) -> (W, H, 3)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
