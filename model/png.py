"""PNG files by their chunks: what of them is the picture."""

import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # W3C PNG specification, section 11
_EXIF = b"eXIf"  # which way up the picture is


def picture_only(data: bytes | bytearray) -> bytes | bytearray:
    """Drop from a PNG what isn't the picture; anything else comes back as it is.

    Pillow refuses a photo for a long text, a wrong checksum or an odd colour profile beside it.
    """
    if not data.startswith(_SIGNATURE):
        return data
    parts, at = [_SIGNATURE], len(_SIGNATURE)
    while name := data[at + 4 : at + 8]:
        end = at + 12 + int.from_bytes(data[at : at + 4])  # length and name before, checksum behind
        checksum = int.from_bytes(data[end - 4 : end])
        if name in _PICTURE or (name == _EXIF and zlib.crc32(data[at + 4 : end - 4]) == checksum):
            parts.append(bytes(data[at:end]))
        if name == b"IEND":
            break
        at = end
    return b"".join(parts)
