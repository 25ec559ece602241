"""Photos in other formats than JPEG: whole, with something odd about them, and the same cut short."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.limits import RGB
from tests.helpers.odd_jpegs import photo

WIDTH, HEIGHT = 64, 48
_PIXELS = np.asarray(photo(width=WIDTH, height=HEIGHT))
_GREY = np.asarray(photo("L", WIDTH, HEIGHT))
_DEEP = (_GREY.astype(np.uint16) << 8) + 7  # 16 bits that are `_GREY` when scaled down
_ROWS = b"".join(b"\0" + row.tobytes() for row in _PIXELS)  # of a PNG: no filter

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OddPhoto:
    """`cut` lacks bytes of the picture; `whole` shows (H, W, 3) pixels."""

    whole: bytes
    cut: bytes
    shows: RGB


def _rgb(grey: Array) -> RGB:
    return np.repeat(grey[:, :, None], 3, axis=2)


# PNG


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    """Write a chunk, with a wrong checksum if `crc` is given."""
    checksum = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _header(depth: int = 8, colour: int = 2, interlaced: bool = False) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlaced))


def _png(
    before: bytes = b"",
    after: bytes = b"",
    rows: bytes = _ROWS,
    header: bytes = _header(),
    shows: RGB = _PIXELS,
    size: int = 10**6,
) -> OddPhoto:
    """Write a PNG with chunks before and after the picture, which comes in pieces of `size` bytes."""
    whole, cut = (
        b"\x89PNG\r\n\x1a\n"
        + header
        + before
        + b"".join(chunk(b"IDAT", data[at : at + size]) for at in range(0, len(data), size))
        + after
        for data in (zlib.compress(rows), zlib.compress(rows)[:-40])
    )
    return OddPhoto(whole, cut, shows)


def _interlace() -> bytes:
    """Adam7's seven passes, PNG specification, section 8.2."""
    starts = ((0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0))
    steps = ((8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1))
    passes = [(*start, *step) for start, step in zip(starts, steps, strict=True)]
    parts = [_PIXELS[y::dy, x::dx] for y, x, dy, dx in passes]
    return b"".join(b"\0" + row.tobytes() for part in parts for row in part)


_END = chunk(b"IEND", b"")
_TEXT = b"Comment\0" + b"words " * 400_000  # 2.4 MB, more than Pillow reads
_DEEP_ROWS = b"".join(b"\0" + row.astype(">u2").tobytes() for row in _DEEP)
_DEEP_RGB = b"".join(b"\0" + (row.astype(">u2") * 256).astype(">u2").tobytes() for row in _PIXELS)
_CLEAR = int(_DEEP[0, 0])
_LEVELS = _GREY // 64
_FOUR = b"".join(
    b"\0" + bytes((r[::4] << 6 | r[1::4] << 4 | r[2::4] << 2 | r[3::4]).tolist()) for r in _LEVELS
)
_EXIF = b"MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0"  # upside down
_PALETTE = bytes(range(0, 12))
_PALETTE_ROWS = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [255, 255, 255]], np.uint8)[_LEVELS]

PNGS = {
    "PNG, a long text before the picture": _png(chunk(b"tEXt", _TEXT), _END),
    "PNG, a long text behind the picture": _png(after=chunk(b"tEXt", _TEXT) + _END),
    "PNG, a packed text that grows": _png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(_TEXT)), _END),
    "PNG, a packed text that grows, behind the picture": _png(
        after=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(_TEXT)) + _END
    ),
    "PNG, a wrong checksum of the resolution": _png(chunk(b"pHYs", bytes(9), crc=1), _END),
    "PNG, a wrong checksum of Exif": _png(chunk(b"eXIf", _EXIF, crc=1), _END),
    "PNG, Exif and a long text": _png(
        chunk(b"eXIf", _EXIF) + chunk(b"tEXt", _TEXT), _END, shows=_PIXELS[::-1, ::-1]
    ),
    "PNG, a resolution that is too short": _png(chunk(b"pHYs", bytes(3)), _END),
    "PNG, a gamma that is too short": _png(chunk(b"gAMA", bytes(1)), _END),
    "PNG, a colour profile packed in an unknown way": _png(chunk(b"iCCP", b"name\0\7words"), _END),
    "PNG, a colour profile that isn't packed": _png(chunk(b"iCCP", b"name\0\0words"), _END),
    "PNG, an unknown chunk": _png(chunk(b"prVt", b"words"), _END),
    "PNG, an animation that isn't one": _png(chunk(b"acTL", bytes(8)), _END),
    "PNG, words behind the end": _png(after=_END + b"words" * 100),
    "PNG, no end": _png(),
    "PNG, a picture in pieces of 10 bytes": _png(chunk(b"IDAT", b""), _END, size=10),
    "PNG, interlaced": _png(rows=_interlace(), header=_header(interlaced=True), after=_END),
    "PNG, 16 bits a channel": _png(rows=_DEEP_RGB, header=_header(16), after=_END),
    "PNG, 16-bit grey": _png(rows=_DEEP_ROWS, header=_header(16, 0), after=_END, shows=_rgb(_GREY)),
    "PNG, 16-bit grey with a transparent value": _png(
        chunk(b"tRNS", struct.pack(">H", _CLEAR)),
        _END,
        rows=_DEEP_ROWS,
        header=_header(16, 0),
        shows=_rgb(np.where(_DEEP == _CLEAR, 255, _GREY).astype(np.uint8)),
    ),
    "PNG, a palette with a transparent colour": _png(
        chunk(b"PLTE", _PALETTE) + chunk(b"tRNS", b"\xff\xff\xff\0"),
        _END,
        rows=_FOUR,
        header=_header(2, 3),
        shows=_PALETTE_ROWS,
    ),
    "PNG, 2-bit grey": _png(
        rows=_FOUR, header=_header(2, 0), after=_END, shows=_rgb((_LEVELS * 85).astype(np.uint8))
    ),
}


# TIFF


def tiff(
    pixels: Array,
    tags: dict[int, tuple[int, ...]],
    order: str = "<",
    shows: RGB = _PIXELS,
) -> OddPhoto:
    """Write a TIFF; tags are numbered as in TIFF 6.0, section 8. 284 is 2: a strip for each channel."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    strips = tags[277][0] if tags.get(284) == (2,) else 1
    sizes = (len(data) // strips,) * strips
    entries = {256: (WIDTH,), 257: (HEIGHT,), 259: (1,), 273: sizes, 278: (HEIGHT,), 279: sizes} | tags
    behind = 8 + 2 + 12 * len(entries) + 4
    start = behind + 4 * sum(len(v) for v in entries.values() if len(v) > 1)
    entries[273] = tuple(start + k * sizes[0] for k in range(strips))
    table, extra = struct.pack(f"{order}H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, extra = struct.pack(f"{order}I", behind + len(extra)), extra + packed
        table += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    mark = b"II*\0" if order == "<" else b"MM\0*"
    whole = mark + struct.pack(f"{order}I", 8) + table + bytes(4) + extra + data
    return OddPhoto(whole, whole[:-1], shows)


def _saved(name: str, mode: str = "RGB", **options: object) -> OddPhoto:
    """Save with Pillow, and cut off the last third."""
    file = io.BytesIO()
    photo(mode, WIDTH, HEIGHT).save(file, name, **options)
    data = file.getvalue()
    shown = Image.open(io.BytesIO(data)).convert("RGB")
    return OddPhoto(data, data[: 2 * len(data) // 3], np.asarray(shown))


def _pack_12_bits(grey: Array) -> Array:
    """Write each value as 12 bits: two in three bytes."""
    even, odd = (grey.reshape(-1, 2).astype(int) << 4 | 7).T
    return np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], 1).astype(np.uint8)


_GREY_TAGS = {258: (16,), 262: (1,), 277: (1,)}
_RGB_TAGS = {258: (8, 8, 8), 262: (2,), 277: (3,)}
_CMYK = np.asarray(photo("CMYK", WIDTH, HEIGHT))
_HALF = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
_ON_WHITE = Image.fromarray(np.full_like(_PIXELS, 255))

TIFFS = {
    "TIFF, 16-bit grey": tiff(_DEEP, _GREY_TAGS, shows=_rgb(_GREY)),
    "TIFF, 16-bit grey, big-endian": tiff(_DEEP, _GREY_TAGS, ">", shows=_rgb(_GREY)),
    "TIFF, 16-bit grey, white is zero": tiff(65535 - _DEEP, _GREY_TAGS | {262: (0,)}, shows=_rgb(_GREY)),
    "TIFF, 8-bit grey, white is zero": tiff(
        255 - _GREY, {258: (8,), 262: (0,), 277: (1,)}, shows=_rgb(_GREY)
    ),
    "TIFF, 12-bit grey": tiff(
        _pack_12_bits(_GREY), {258: (12,), 262: (1,), 277: (1,)}, shows=_rgb(_GREY)
    ),
    "TIFF, 16 bits a channel": tiff(_PIXELS.astype(np.uint16) << 8, _RGB_TAGS | {258: (16, 16, 16)}),
    "TIFF, a plane for each colour": tiff(
        _PIXELS.transpose(2, 0, 1),
        _RGB_TAGS | {284: (2,)},
    ),
    "TIFF, big-endian": tiff(_PIXELS, _RGB_TAGS, ">"),
    "TIFF, CMYK": tiff(
        _CMYK,
        {258: (8, 8, 8, 8), 262: (5,), 277: (4,)},
        shows=np.asarray(photo("CMYK", WIDTH, HEIGHT).convert("RGB")),
    ),
    "TIFF, an unused fourth channel": tiff(
        np.concatenate([_PIXELS, _HALF], axis=2),
        {258: (8, 8, 8, 8), 262: (2,), 277: (4,), 338: (0,)},
    ),
    "TIFF, half transparent": tiff(
        np.concatenate([_PIXELS, _HALF], axis=2),
        {258: (8, 8, 8, 8), 262: (2,), 277: (4,), 338: (2,)},
        shows=np.asarray(Image.blend(_ON_WHITE, photo(width=WIDTH, height=HEIGHT), 128 / 255)),
    ),
    "TIFF, deflated": _saved("TIFF", compression="tiff_adobe_deflate"),
    "TIFF, LZW": _saved("TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": _saved("TIFF", compression="jpeg"),
    "TIFF, fax": _saved("TIFF", "1", compression="group4"),
    "TIFF, a palette": _saved("TIFF", "P"),
    "TIFF, L*a*b*": tiff(
        _PIXELS,
        _RGB_TAGS | {262: (8,)},
        shows=np.asarray(Image.frombytes("LAB", (WIDTH, HEIGHT), _PIXELS.tobytes()).convert("RGB")),
    ),
}

OTHERS = {
    "GIF, interlaced": _saved("GIF", "P", interlace=1),
    "GIF, an animation": _saved("GIF", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]),
    "BMP, 1 bit": _saved("BMP", "1"),
    "BMP, a palette": _saved("BMP", "P"),
    "WebP": _saved("WEBP"),
    "WebP, lossless": _saved("WEBP", lossless=True),
    "WebP, an animation": _saved(
        "WEBP", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]
    ),
}
