"""From the bytes of a photo to RGB pixels: the only place where photos are decoded.

Pillow reads the header (format, size, mode, orientation), so that limits are checked before a pixel
is decoded. simplejpeg then decodes JPEGs, two to five times faster than Pillow; one that is cut short
is refused (`model.jpeg`). Pillow decodes everything else. What counts is the content: file names and
content types are ignored. All but small, ordinary JPEGs are decoded in a child process, which bounds
what they cost (`model.decoder`).
"""

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image

from model import decoder
from model.decoding_cost import is_cheap, webp_size
from model.errors import PhotoTooLarge, UnreadableImage, UnsupportedFormat
from model.formats import format_of
from model.jpeg import OddJpeg, decode_jpeg, decode_plainly, read_frame
from model.limits import DEFAULT_LIMITS, RGB, PhotoLimits
from model.png import picture_only
from model.text import quote_bytes

# Tags of TIFF 6.0, section 8, and of Exif 2.3, section 4.6.4.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION = 258, 262, 0x0112
_WHITE_IS_ZERO = 0
_STRIP_PIXELS = 2**20  # that are converted to RGB at a time
_BACKGROUND = (255, 255, 255)  # what shows through transparent pixels


def decode_photo(
    data: bytes | bytearray, limits: PhotoLimits = DEFAULT_LIMITS, at_least: int = 0
) -> RGB:
    """Decode the photo in `data` upright, as (H, W, 3) uint8 RGB.

    The first frame of an animation is taken, and transparency is laid over white. A JPEG whose
    sides are at least twice `at_least` pixels comes at a half, a quarter or an eighth of its size, which
    takes less time and averages more pixels than a bilinear resize does.

    Raises:
        UnsupportedFormat: the bytes are no photo in one of `limits.formats`.
        PhotoTooLarge: a limit is exceeded.
        UnreadableImage: the photo is damaged or cut short.
    """
    if not data:
        raise UnreadableImage("the photo is empty (0 bytes); send the bytes of an image file")
    if len(data) > limits.max_bytes:
        raise PhotoTooLarge(
            f"the photo has {len(data)} bytes, {limits.max_bytes} are allowed; send a smaller one"
        )
    if not format_of(data):
        raise _unidentified(data, limits)
    if is_cheap(data):
        with suppress(OddJpeg):  # or damaged: finding out costs more
            return decode_here(data, limits, at_least, plainly=True)
    return decoder.decode(data, limits, at_least)


def decode_here(
    data: bytes | bytearray, limits: PhotoLimits, at_least: int, plainly: bool = False
) -> RGB:
    """Decode as `decode_photo` does, but in this process, whatever it costs.

    Raises:
        OddJpeg: a JPEG can't be decoded `plainly`, that is at once.
    """
    image = _open(data, limits)
    try:
        if image.format in ("JPEG", "MPO"):
            is_cmyk = image.mode == "CMYK"
            sides = {} if is_cmyk else _shrunk(image.size, at_least)
            pixels = (decode_plainly if plainly else decode_jpeg)(data, is_cmyk, **sides)
        else:
            pixels = _decode_with_pillow(image)
    except (UnsupportedFormat, MemoryError, OddJpeg):
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        if len(picture := picture_only(data)) < len(data) and not isinstance(error, OSError):
            return decode_here(picture, limits, at_least)  # a chunk was wrong, not the picture: OSError
        why = str(error).partition(" <_io.")[0]  # Pillow names the object that it read from
        raise UnreadableImage(
            f"the {image.format} photo can't be decoded to its end ({why}); send a complete file"
        ) from error
    return _upright(pixels, _orientation(image))


def _open(data: bytes | bytearray, limits: PhotoLimits) -> Image.Image:
    """Read the header and check it against the limits."""
    if size := webp_size(data):  # Pillow makes room for all of a WebP when it opens it
        _check_size(size, limits)
    try:
        image = Image.open(io.BytesIO(data), formats=_pillow_formats(limits))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = re.search(r"\d+", str(error))  # Pillow's own guard comes before ours
        pixels = found[0] if found else "too many"
        raise PhotoTooLarge(
            f"the photo has {pixels} pixels, {limits.max_pixels} are allowed; send a smaller one"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # as above
        if len(picture := picture_only(data)) < len(data):
            return _open(picture, limits)
        raise _unidentified(data, limits) from error
    _check_size(image.size, limits)
    if image.format in ("JPEG", "MPO"):
        width, height = read_frame(data, limits.max_scans)
        if (width, height) != image.size:  # the decoder would make room for them
            raise UnreadableImage(
                f"the JPEG photo has two sizes, {image.width} x {image.height} and {width} x {height} "
                "pixels; save it again"
            )
    return image


def _pillow_formats(limits: PhotoLimits) -> tuple[str, ...]:
    """Name the formats as Pillow does; it calls a JPEG that more pictures follow, as on phones, MPO."""
    return (*limits.formats, "MPO") if "JPEG" in limits.formats else limits.formats


def _check_size(size: tuple[int, int], limits: PhotoLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise PhotoTooLarge(
            f"the photo has {width} x {height} pixels, at most {limits.max_pixels} in all and "
            f"{limits.max_side} on a side are allowed; send a smaller one"
        )


def _unidentified(data: bytes | bytearray, limits: PhotoLimits) -> UnreadableImage | UnsupportedFormat:
    name = format_of(data)
    if name in limits.formats:
        return UnreadableImage(f"the photo starts like a {name}, but its header can't be read")
    what = f"a {name}, which can't be read here" if name else "no photo"
    return UnsupportedFormat(
        f"the data starts with {quote_bytes(data[:12])} and is {what}; send one of "
        f"{', '.join(limits.formats)}"
    )


def _shrunk(size: tuple[int, int], at_least: int) -> dict[str, int]:
    """Ask for a half, a quarter or an eighth of `size` if its sides still have `at_least` pixels then.

    libjpeg-turbo has no fast code for the eighths between, they take longer.
    """
    shrink = next((n for n in (8, 4, 2) if at_least and min(size) >= n * at_least), None)
    width, height = size
    return {"min_height": -(-height // shrink), "min_width": -(-width // shrink)} if shrink else {}


def _decode_with_pillow(image: Image.Image) -> RGB:
    """Decode all of it, then convert some rows at a time: whole copies would take the memory again."""
    if image.mode in ("I", "F"):  # how dark and how bright its values may be isn't said
        what = "floating-point" if image.mode == "F" else "32-bit or signed"
        raise UnsupportedFormat(f"the photo has {what} pixels; send 8 or 16 bits a channel")
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})  # of a TIFF
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        part = image.crop((0, top, image.width, bottom))
        is_deep = image.mode.startswith("I;16")
        pixels[top:bottom] = _grey_to_rgb(part, tags) if is_deep else _to_rgb(part)
    return pixels


def _to_rgb(image: Image.Image) -> RGB:
    if image.has_transparency_data:
        over = image.convert("RGBA")
        under = Image.new("RGBA", over.size, (*_BACKGROUND, 255))
        image = Image.alpha_composite(under, over)
    return np.asarray(image.convert("RGB"))


def _grey_to_rgb(image: Image.Image, tags: Mapping[int, Any]) -> RGB:
    """Scale grey of more than 8 bits to 8; Pillow leaves it as it is in the file."""
    most = 2 ** int(np.max(tags.get(_BITS_PER_SAMPLE, 16))) - 1
    values = np.asarray(image)  # (H, W) uint16
    grey = (values.astype(np.uint32) * 255 // most).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = _BACKGROUND[0]
    return np.repeat(grey[:, :, None], 3, axis=2)


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
