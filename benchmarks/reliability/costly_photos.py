"""Photos within the size limit that would cost far more time or memory than what they hold is worth.

Each repeats something that is cheap to write and dear to read: tags that share an area, tiny tiles,
comment blocks, scans, chunks, frames.
"""

import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.reliability.corpus import encode
from benchmarks.reliability.hostile import scan_bomb

_SIDE = 7000  # of a square that is just allowed
_MB = 1_000_000


def _plain(mode: str = "RGB", side: int = _SIDE) -> Image.Image:
    return Image.new(mode, (side, side), 1 if mode in ("L", "P") else (1, 2, 3, 4)[: len(mode)])


def _noise(side: int, mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def _rough(side: int = _SIDE) -> Image.Image:
    return _noise(1500).resize((side, side))


# --- TIFF 6.0, section 2: header, directories of twelve-byte entries, what they point at


def _tiff(entries: list[tuple[int, int, int, int]], behind: bytes = b"", at: int = 8) -> bytes:
    """Lay out a little-endian TIFF: (tag, kind, count, value) sorted, then other bytes."""
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries)) + bytes(4)
    return b"II*\0" + struct.pack("<I", at) + directory + behind


def _tiff_basics(width: int, height: int) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]


def _tiff_shared_tags(kind: int = 3, area: int = 200_000) -> bytes:
    """Tens of thousands of private tags with one large value."""
    basics = [*_tiff_basics(1, 1), (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 1)]
    n = 20_000
    start = 8 + 2 + 12 * (n + len(basics)) + 4
    size = {1: 1, 3: 2, 4: 4, 5: 8, 12: 8}[kind]
    tags = [(1000 + i, kind, area // size, start) for i in range(n)]
    return _tiff([*basics, *tags], bytes(area))


def _tiff_tiles(side: int = 6992, tile: int = 16) -> bytes:
    """Tiles of 16 x 16 pixels, all at one place."""
    n = (side // tile) ** 2
    start = 8 + 2 + 12 * 9 + 4
    entries = [*_tiff_basics(side, side), (322, 3, 1, tile), (323, 3, 1, tile)]
    entries += [(324, 4, n, start + 256), (325, 4, n, start + 256 + 4 * n)]
    offsets = struct.pack("<I", start) * n + struct.pack("<I", 256) * n
    return _tiff(entries, bytes(256) + offsets)


def _tiff_strips(width: int = 2500, height: int = 20_000, compression: int = 8) -> bytes:
    """One row in each strip, all the same compressed bytes."""
    strip = zlib.compress(bytes(width))
    start = 8 + 2 + 12 * 8 + 4
    entries = _tiff_basics(width, height)
    entries[3] = (259, 3, 1, compression)
    entries += [(273, 4, height, start + len(strip)), (278, 4, 1, 1)]
    entries += [(279, 4, height, start + len(strip) + 4 * height)]
    offsets = struct.pack("<I", start) * height + struct.pack("<I", len(strip)) * height
    return _tiff(entries, strip + offsets)


def _tiff_directories(n: int = 200_000) -> bytes:
    """A chain of directories, the picture in the first."""
    basics = [*_tiff_basics(16, 16), (273, 4, 1, 8), (278, 4, 1, 16), (279, 4, 1, 256)]
    first = struct.pack("<H", len(basics)) + b"".join(struct.pack("<HHII", *e) for e in sorted(basics))
    at = 8 + len(first) + 4
    chain = b"".join(
        struct.pack("<H", 1) + struct.pack("<HHII", 254, 4, 1, 1) + struct.pack("<I", at + 18 * (i + 1))
        for i in range(n)
    )
    return b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", at) + chain


def _tiff_saved(compression: str) -> bytes:
    return encode(_plain(), "TIFF", compression=compression)


# --- PNG, ISO/IEC 15948


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], colour: int = 2, lace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, lace)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    )


def _rows(side: int, depth: int = 3) -> bytes:
    return zlib.compress(bytes((side * depth + 1) * side), 1)


def _png_interlaced() -> bytes:
    passes = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)]  # section 8.2
    offsets = [(0, 0), (4, 0), (0, 4), (2, 0), (0, 2), (1, 0), (0, 1)]
    packer, data = zlib.compressobj(1), b""
    for (dx, dy), (x, y) in zip(passes, offsets, strict=True):
        width, height = -((x - _SIDE) // dx), -((y - _SIDE) // dy)
        data += packer.compress(bytes((width * 4 + 1) * height))
    return _png(_SIDE, _SIDE, (b"IDAT", data + packer.flush()), colour=6, lace=1)


def _png_texts(kind: bytes, n: int = 60, size: int = 60 * _MB) -> bytes:
    packed = zlib.compress(bytes(size), 9)
    prefix = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    small = (b"IDAT", zlib.compress(bytes(4 * 16 * 16)))
    return _png(16, 16, *[(kind, prefix + packed)] * n, small)


def _png_chunks(n: int = 1_500_000) -> bytes:
    small = _chunk(b"IDAT", zlib.compress(bytes(49 * 16)))
    whole = _png(16, 16)
    return whole[:-12] + _chunk(b"prVt", b"") * n + small + whole[-12:]


def _png_data_chunks(n: int = 1_000_000) -> bytes:
    """The pixels a byte at a time."""
    data = zlib.compress(np.random.default_rng(0).bytes(800_000), 0)[:n]
    return _png(511, 520, *[(b"IDAT", data[i : i + 1]) for i in range(len(data))])


# --- GIF89a


def _gif(width: int, height: int, blocks: bytes, data: bytes | None = None) -> bytes:
    screen = struct.pack("<HH", width, height)
    picture = b",\0\0\0\0" + screen + b"\0" + (data or b"\x02\x02L\x01\0")
    return b"GIF89a" + screen + b"\x80\0\0" + bytes(6) + blocks + picture + b";"


def _gif_comments(n: int = 4 * _MB) -> bytes:
    return _gif(1, 1, b"!\xfe" + b"\x01c" * n + b"\0")


def _gif_extensions(n: int = 2 * _MB) -> bytes:
    return _gif(1, 1, b"!\xfe\x01c\0" * n)


def _gif_frames(n: int = 500_000) -> bytes:
    frame = b"!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(6) + frame * n + b";"


# --- BMP, WebP, AVIF


def _bmp_rle(code: bytes, width: int = 2500, height: int = 20_000) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(code), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(code), 0, 0, start) + header + bytes(1024) + code


def _webp_animation(frames: int = 300) -> bytes:
    more = [Image.new("RGB", (1000, 1000), (i % 256, 0, 0)) for i in range(3)]
    one = encode(_plain(side=1000), "WEBP", save_all=True, append_images=more, lossless=True, method=0)
    first = one.index(b"ANMF")
    return one[:first] + one[first:] * (frames // 4)


@cache
def _avif() -> bytes:
    return encode(_plain(), "AVIF", quality=1, speed=10)


def _avif_smaller() -> bytes:
    """Declares a quarter of the pixels that it holds."""
    data = bytearray(_avif())
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", _SIDE // 2, _SIDE // 2)
    return bytes(data)


# --- JPEG, ITU-T T.81


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _jpeg_with(segments: bytes) -> bytes:
    data = encode(_plain(side=16), "JPEG")
    return data[:2] + segments + data[2:]


def _jpeg_shared_exif() -> bytes:
    """An Exif directory over several segments, which Pillow joins, whose tags share one value."""
    exif = _tiff_shared_tags(1, 3 * _MB)
    parts = [exif[i : i + 65_000] for i in range(0, len(exif), 65_000)]
    return _jpeg_with(b"".join(_segment(0xE1, b"Exif\0\0" + part) for part in parts))


def _jpeg_shared_index() -> bytes:
    """A multi-picture index whose tags share one value."""
    n = 2400
    tags = [(0xB000, 7, 4, 0x30303130), (0xB001, 4, 1, 2)]
    tags += [(0xB003 + i, 3, 16_000, 8 + 12 * n) for i in range(n)]
    return _jpeg_with(_segment(0xE2, b"MPF\0" + _tiff(tags, bytes(32_500))[:65_500]))


def _jpeg_scans() -> bytes:
    data = encode(_noise(1200).resize((8000, 6000)), "JPEG", quality=40, progressive=True)
    start = data.rindex(b"\xff\xda")
    last = data[start:-2]
    return data[:-2] + last * 9 + data[-2:]


def _jpeg_tables() -> bytes:
    """Huffman tables over and over before each scan of a progressive picture."""
    data = encode(_plain(side=256), "JPEG", progressive=True)
    start = data.index(b"\xff\xc4")
    table = data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4])]
    return data[:start] + table * (19 * _MB // len(table)) + data[start:]


def _jpeg_restarts() -> bytes:
    return encode(_noise(3000), "JPEG", quality=60, restart_marker_blocks=1)


_PROFILE = _segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000))
_PHOTOSHOP = _segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5400)
PHOTOS: dict[str, Callable[[], bytes]] = {
    "TIFF, tags that share bytes": lambda: _tiff_shared_tags(1),
    "TIFF, tags that share numbers": lambda: _tiff_shared_tags(3),
    "TIFF, tags that share fractions": lambda: _tiff_shared_tags(5),
    "TIFF, tiny tiles": _tiff_tiles,
    "TIFF, strips of a row": _tiff_strips,
    "TIFF, 200,000 directories": _tiff_directories,
    "TIFF, 49 MP in LZW": lambda: _tiff_saved("tiff_lzw"),
    "TIFF, 49 MP in deflate": lambda: _tiff_saved("tiff_adobe_deflate"),
    "TIFF, 49 MP in JPEG": lambda: _tiff_saved("jpeg"),
    "TIFF, 49 MP in fax code": lambda: encode(_plain("1"), "TIFF", compression="group4"),
    "PNG, 49 MP": lambda: _png(_SIDE, _SIDE, (b"IDAT", _rows(_SIDE))),
    "PNG, 49 MP, alpha": lambda: _png(_SIDE, _SIDE, (b"IDAT", _rows(_SIDE, 4)), colour=6),
    "PNG, 49 MP, interlaced": _png_interlaced,
    "PNG, 60 large zTXt": lambda: _png_texts(b"zTXt"),
    "PNG, 60 large iTXt": lambda: _png_texts(b"iTXt"),
    "PNG, 60 large iCCP": lambda: _png_texts(b"iCCP"),
    "PNG, 1.5 million chunks": _png_chunks,
    "PNG, a byte in each IDAT": _png_data_chunks,
    "GIF, 49 MP": lambda: encode(_plain("P"), "GIF"),
    "GIF, 8 MB of comments": _gif_comments,
    "GIF, 2 million comments": _gif_extensions,
    "GIF, 500,000 frames": _gif_frames,
    "GIF, a screen of 49 MP": lambda: _gif(_SIDE, _SIDE, b""),
    "BMP, ends of lines": lambda: _bmp_rle(b"\1\0\0\0" * 2500, 20_000, 2500),
    "BMP, steps": lambda: _bmp_rle(b"\0\x02\0\1" * 5000, 20_000, 2500),
    "BMP, steps aside": lambda: _bmp_rle(b"\0\x02\xff\0" * 250_000),
    "BMP, runs of a pixel": lambda: _bmp_rle(b"\1\1" * 5 * _MB),
    "WebP, 49 MP": lambda: encode(_plain(), "WEBP", method=0),
    "WebP, 6 MP, lossless": lambda: encode(_rough(2400), "WEBP", lossless=True, method=0, quality=0),
    "WebP, animated": _webp_animation,
    "AVIF, 49 MP": _avif,
    "AVIF, declares a quarter": _avif_smaller,
    "JPEG, 49 MP": lambda: encode(_rough(), "JPEG", quality=85),
    "JPEG, 49 MP, progressive": lambda: encode(_rough(), "JPEG", quality=85, progressive=True),
    "JPEG, 49 MP, CMYK": lambda: encode(_plain("CMYK"), "JPEG"),
    "JPEG, 48 MP, 19 scans": _jpeg_scans,
    "JPEG, 5000 scans": scan_bomb,
    "JPEG, Exif that shares a value": _jpeg_shared_exif,
    "JPEG, index that shares a value": _jpeg_shared_index,
    "JPEG, 19 MB of tables": _jpeg_tables,
    "JPEG, 19 MB of comments": lambda: _jpeg_with(_segment(0xFE, b"") * (19 * _MB // 4)),
    "JPEG, 19 MB of profiles": lambda: _jpeg_with(_PROFILE * 290),
    "JPEG, 19 MB of Photoshop": lambda: _jpeg_with(_PHOTOSHOP * 290),
    "JPEG, restarts after each block": _jpeg_restarts,
}  # fmt: skip
