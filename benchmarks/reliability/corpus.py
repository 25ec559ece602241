"""What well-meaning clients send, made from one photo: every kind of photo and of request.

Used by the tests, which send all of it to a real server mixed with `benchmarks.reliability.hostile`,
and by `benchmarks.reliability.fuzz`.
"""

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
from PIL import Image

from model.formats import FORMATS
from model.limits import RGB

JPEG_TYPE, JSON_TYPE, FORM_TYPE = "image/jpeg", "application/json", "multipart/form-data; boundary=edge"
V1_PATH = "/v1/models/flying_objects:predict"
READABLE = frozenset({200})


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        kind: what it is, for the table.
        body: as sent.
        statuses: that may answer it.
        content_type: header of that name; None to send none.
        path: after `/predictions/NAME`, or a whole path if it starts with "/v1".
        photo: the bytes of the photo in it, if it is one to be answered.
        same_as_original: whether its best class must be the original photo's.
    """

    kind: str
    body: bytes
    statuses: frozenset[int]
    content_type: str | None = JPEG_TYPE
    path: str = ""
    photo: bytes | None = field(default=None, repr=False)
    same_as_original: bool = False


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    """Encode a picture in the format that Pillow calls `name`."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def good_cases(rgb: RGB) -> Iterator[Case]:
    """Make every readable kind of photo and of request from an (H, W, 3) photo."""
    for kind, data, same in (*_formats(rgb), *_orientations(rgb)):
        yield Case(kind, data, READABLE, photo=data, same_as_original=same)
    jpeg = encode(Image.fromarray(rgb), "JPEG", quality=95)
    text = base64.b64encode(jpeg).decode()
    lines = base64.encodebytes(jpeg).decode()
    for kind, document, path in (
        ("JSON", {"image": text}, ""),
        ("JSON, base64 in lines", {"image": lines}, ""),
        ("JSON, data URL", {"image": f"data:image/jpeg;base64,{text}"}, ""),
        ("JSON, list of one", [{"image": text}], ""),
        ("JSON, top_k", {"image": text, "top_k": 2}, ""),
        ("KServe V1", {"instances": [{"b64": text}]}, V1_PATH),
    ):
        yield Case(kind, json.dumps(document).encode(), READABLE, JSON_TYPE, path, jpeg, True)
    for kind, content_type in (
        ("raw, no content type", None),
        ("raw, as text/html", "text/html"),
        ("raw, as application/json", JSON_TYPE),
        ("raw, as image/png", "image/png"),
        ("raw, as text/plain", "text/plain"),
    ):
        yield Case(kind, jpeg, READABLE, content_type, "", jpeg, True)
    yield Case("form, one file", form(file1=jpeg), READABLE, FORM_TYPE, "", jpeg, True)
    yield Case("form, file without a type", form(None, file1=jpeg), READABLE, FORM_TYPE, "", jpeg, True)
    yield Case(
        "JSON, sent without a type", json.dumps({"image": text}).encode(), READABLE, None, "", jpeg
    )


def form(part_type: str | None = "application/octet-stream", /, **parts: bytes) -> bytes:
    """Lay out a form with these files; without `part_type` they are plain fields."""
    body = b""
    for name, content in parts.items():
        disposition = f'Content-Disposition: form-data; name="{name}"'
        if part_type:
            disposition += f'; filename="{name}.bin"\r\nContent-Type: {part_type}'
        body += f"--edge\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + b"--edge--\r\n"


def _formats(rgb: RGB) -> Iterator[tuple[str, bytes, bool]]:
    """Yield every format and mode; the last says whether the picture is the same for a network."""
    image = Image.fromarray(rgb)
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    animated = {"save_all": True, "append_images": [Image.new("RGB", image.size, "red")]}
    sixteen = np.asarray(image.convert("L")).astype(np.uint16) * 257
    yield from _jpegs(image)
    yield "PNG", encode(image, "PNG"), True
    yield "APNG", encode(image, "PNG", **animated), True
    yield "PNG, grey", encode(image.convert("L"), "PNG"), False
    yield "PNG, palette", encode(image.quantize(256), "PNG"), False
    yield "PNG, alpha", encode(alpha, "PNG"), False
    yield "PNG, 16 bit grey", encode(Image.fromarray(sixteen), "PNG"), False
    yield "PNG, 16 bit colour", png16(rgb), True
    yield "PNG, 1 bit", encode(image.convert("1"), "PNG"), False
    yield "WebP, lossless", encode(image, "WEBP", lossless=True), True
    yield "WebP, lossy", encode(image, "WEBP", quality=95), True
    yield "WebP, alpha", encode(alpha, "WEBP", lossless=True), False
    yield "WebP, animated", encode(image, "WEBP", lossless=True, **animated), True
    yield "GIF", encode(image.quantize(256), "GIF"), False
    yield "GIF, animated", encode(image.quantize(256), "GIF", **animated), False
    yield "BMP", encode(image, "BMP"), True
    yield "TIFF", encode(image, "TIFF"), True
    yield "TIFF, LZW", encode(image, "TIFF", compression="tiff_lzw"), True
    yield "TIFF, JPEG inside", encode(image, "TIFF", compression="jpeg", quality=95), True
    yield "TIFF, CMYK", encode(image.convert("CMYK"), "TIFF"), False
    yield "1 x 1", encode(image.resize((1, 1)), "PNG"), False
    yield "1 x 20000", encode(image.resize((1, 20_000)), "PNG"), False
    if "AVIF" in FORMATS:
        yield "AVIF", encode(image, "AVIF", quality=95), True
    if "HEIF" in FORMATS:
        yield "HEIC", encode(image, "HEIF", quality=95), True


def _jpegs(image: Image.Image) -> Iterator[tuple[str, bytes, bool]]:
    small = image.resize((image.width // 2, image.height // 2))
    inverted = np.ascontiguousarray(255 - np.asarray(image.convert("CMYK")))  # as Adobe writes it
    yield "JPEG", encode(image, "JPEG", quality=95), True
    yield "JPEG, progressive", encode(image, "JPEG", quality=95, progressive=True), True
    yield "JPEG, grey", encode(image.convert("L"), "JPEG", quality=95), False
    yield "JPEG, CMYK", encode(image.convert("CMYK"), "JPEG", quality=95), False
    yield "JPEG, YCCK", simplejpeg.encode_jpeg(inverted, 95, "CMYK", "420"), False
    yield "JPEG, bytes after its end", encode(image, "JPEG", quality=95) + b"\xff\xda video" * 200, True
    yield "MPO", encode(image, "MPO", quality=95, save_all=True, append_images=[small]), True


def _orientations(rgb: RGB) -> Iterator[tuple[str, bytes, bool]]:
    """Turn the pixels and say so in the EXIF, as a camera does: Exif 2.3, section 4.6.4."""
    turn = Image.Transpose
    stored = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    stored |= {6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.fromarray(rgb)
        if orientation > 1:
            image = image.transpose(stored[orientation])
        yield f"EXIF orientation {orientation}", encode(image, "JPEG", quality=95, exif=exif), True


def png16(rgb: RGB) -> bytes:
    """Write a PNG with 16 bits a channel, which Pillow can't."""
    rows = rgb.astype(">u2") * 257
    filtered = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(rgb.shape[1], rgb.shape[0], zlib.compress(filtered), depth=16)


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """Lay out a PNG of that size around compressed `data`."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
