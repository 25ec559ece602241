"""Which photo formats can be read here, how each one starts, and the suffixes of its files.

Pillow's wheels have AVIF built in; HEIF (the .heic files of phones) needs pillow-heif, the extra
`heic`. What isn't there isn't in `FORMATS`.
"""

import re
from importlib.util import find_spec

from PIL import features

# First bytes by format: the files' specifications, for AVIF and HEIF the brands of ISO/IEC 23008-12.
_STARTS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"II(?:[*+]\x00|\x00\*)|MM(?:\x00[*+]|\*\x00)",  # and with the wrong order, as Pillow
    "WEBP": rb"RIFF.{4}(?:WEBP|\Z)",
    "AVIF": rb".{4}ftypavi[fs]",
    "HEIF": rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
}
SUFFIXES = {  # in use for files of each format
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
}
_PATTERNS = {name: re.compile(start, re.DOTALL) for name, start in _STARTS.items()}


def format_of(data: bytes | bytearray) -> str | None:
    """Name the format that `data` starts like, whether it can be read here or not."""
    return next((name for name, start in _PATTERNS.items() if start.match(data)), None)


def _available() -> tuple[str, ...]:
    """List what Pillow can read here; registers pillow-heif where it is installed."""
    missing = {name for name in ("WEBP", "AVIF") if not features.check(name.lower())}
    if find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    else:
        missing.add("HEIF")
    return tuple(name for name in _STARTS if name not in missing)


FORMATS = _available()
