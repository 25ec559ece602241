"""What a photo will cost to decode, read from its first bytes without decoding any of it.

Only whoever writes a file knows what is in it, so this says what is expected; the bounds are
`model.decoder`'s.
"""

import struct

from model.formats import format_of

Size = tuple[int, int]  # width, height

_SOF_DCT = (0xC0, 0xC1, 0xC2)  # Huffman-coded frames, sequential and progressive: ITU-T T.81, table B.1
_SOS = 0xDA  # start of a scan
# Bytes before a JPEG's first scan. Pillow reads these in milliseconds at most; in much more of them the
# entries of an Exif directory could share one large value.
_HEADER_BYTES = 2**16
_INDEX_BYTES = 2**10  # of an MPF segment, whose every value Pillow unpacks; phones write some 100
_PEEK_BYTES = 2**18  # in which a JPEG's size is looked for, whatever is before it
_MARKERS = 1000  # in all of a JPEG of several scans, which are looked at one by one
_CHEAP_PIXELS = 16_000_000  # of a JPEG, times its scans: about 0.2 s at full size
# Seconds for a pixel of a JPEG, again for each of its scans, of another format, and for a byte; measured
# at 50 megapixels.
_JPEG_S, _SCAN_S, _OTHER_S, _BYTE_S = 2e-9, 1e-9, 25e-9, 10e-9


def is_cheap(data: bytes | bytearray) -> bool:
    """Whether `data` is a JPEG that any program reads in the same way, and in a fraction of a second.

    Its segments follow each other without a gap up to the first scan, they are small, and pixels times
    scans are few.
    """
    pixels, one_scan = _plain_jpeg(data)
    if not 0 < pixels <= _CHEAP_PIXELS:
        return False
    if one_scan:
        return True
    markers = data.count(b"\xff") - data.count(b"\xff\0")
    return markers <= _MARKERS and pixels * _scans(data) <= _CHEAP_PIXELS


def expected_s(data: bytes | bytearray) -> float:
    """Seconds of CPU that decoding for a network should take, by the declared size."""
    width, height = declared_size(data) or (0, 0)
    is_jpeg = format_of(data) == "JPEG"
    per_pixel = _JPEG_S + _SCAN_S * _scans(data) if is_jpeg else _OTHER_S
    return width * height * per_pixel + len(data) * _BYTE_S


def declared_size(data: bytes | bytearray) -> Size | None:
    """Width and height as the header has them; None if it isn't where encoders put it."""
    try:
        return _READERS[format_of(data) or ""](data)
    except (KeyError, ValueError, struct.error):
        return None


def _scans(data: bytes | bytearray) -> int:
    """The most scans that a JPEG can have; other data may look like a few more."""
    return max(1, data.count(bytes([0xFF, _SOS])))


def _plain_jpeg(data: bytes | bytearray) -> tuple[int, bool]:
    """Width times height of a JPEG whose header is as encoders write it; 0 for any other data.

    Also whether all of it comes in one scan, after which decoders stop.
    """
    at, pixels, in_one = 2, 0, 0
    if data[:3] != b"\xff\xd8\xff":
        return 0, False
    while at + 12 < min(len(data), _HEADER_BYTES):
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start != 0xFF or length < 2 or not 0xC0 <= marker < 0xFF or 0xD0 <= marker <= 0xD9:
            return 0, False
        if marker == _SOS:
            return pixels, data[at + 4] == in_one
        if marker == 0xE2 and length > _INDEX_BYTES and data[at + 4 : at + 7] == b"MPF":
            return 0, False
        if marker in _SOF_DCT:
            _, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
            if pixels or components not in (1, 3):
                return 0, False
            pixels, in_one = width * height, components if marker != 0xC2 else 0
        elif marker < 0xD0 and marker not in (0xC4, 0xC8):  # frames of other kinds, arithmetic coding
            return 0, False
        at += 2 + length
    return 0, False


def _jpeg_size(data: bytes | bytearray) -> Size:
    import simplejpeg  # not needed where only the other formats come

    height, width = simplejpeg.decode_jpeg_header(data[:_PEEK_BYTES], strict=False)[:2]
    return width, height


def webp_size(data: bytes | bytearray) -> Size | None:
    """Read width and height from a WebP's first chunk (RFC 9649, 2.5 to 2.7); None if it has none."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind, content = data[12:16], data[20:30]
    if kind == b"VP8X":  # extended: the canvas, each side less one in three bytes
        sides = content[4:7], content[7:10]
        width, height = (1 + int.from_bytes(side, "little") for side in sides)
    elif kind == b"VP8L":  # lossless: after a signature each side less one in 14 bits
        bits = int.from_bytes(content[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":  # lossy: after tag and start code each side in 14 bits
        sides = content[6:8], content[8:10]
        width, height = (int.from_bytes(side, "little") & 0x3FFF for side in sides)
    else:
        return None
    return width, height


def _tiff_size(data: bytes | bytearray) -> Size | None:
    """Tags 256 and 257 of the first directory (TIFF 6.0, section 2); None for BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, first)
    found = {}
    for at in range(first + 2, first + 2 + 12 * min(entries, 100), 12):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (256, 257):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)
    return (found[256], found[257]) if len(found) == 2 else None


def _heif_size(data: bytes | bytearray) -> Size | None:
    """The first "ispe" box (ISO/IEC 23008-12, 6.5.3) that is in the first kilobytes."""
    at = data.find(b"ispe", 0, 2**14)
    return None if at < 0 else struct.unpack_from(">II", data, at + 8)


_READERS = {
    "JPEG": _jpeg_size,
    "PNG": lambda data: struct.unpack_from(">II", data, 16),
    "GIF": lambda data: struct.unpack_from("<HH", data, 6),
    "BMP": lambda data: tuple(map(abs, struct.unpack_from("<ii", data, 18))),
    "TIFF": _tiff_size,
    "WEBP": webp_size,
    "AVIF": _heif_size,
    "HEIF": _heif_size,
}
