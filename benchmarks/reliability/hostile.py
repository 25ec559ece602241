"""What careless and malicious clients send: every kind with the statuses that may answer it.

Bombs are small files that say they are huge, or would take minutes to decode.
"""

import base64
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from benchmarks.reliability.corpus import (
    FORM_TYPE,
    JPEG_TYPE,
    JSON_TYPE,
    READABLE,
    V1_PATH,
    Case,
    encode,
    form,
    png,
)
from model.limits import RGB

BAD_PHOTO, TOO_LARGE = frozenset({400}), frozenset({413})
NO_PHOTO, WRONG_JSON = frozenset({415}), frozenset({422})
DAMAGED = frozenset({200, 400, 413, 415})  # what a changed photo may get, but never a 5xx
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def hostile_cases(rgb: RGB) -> Iterator[Case]:
    """Make every kind of bad photo and bad request; a few are photos after all (see `DAMAGED`)."""
    image = Image.fromarray(rgb)
    jpeg = encode(image, "JPEG", quality=90)
    for cut in (1, 2, 3, 5, 20):
        yield Case(f"JPEG cut short by {cut} bytes", jpeg[:-cut], BAD_PHOTO)
    for name in _FORMATS:
        data = encode(image, name)
        yield Case(f"half a {name}", data[: len(data) // 2], BAD_PHOTO)
    yield from _bombs()
    yield from _no_photos(jpeg)
    yield from _odd_metadata(image)
    yield from _bad_json(jpeg)
    yield from _bad_forms(jpeg)


def truncations(rgb: RGB, most: int = 500) -> Iterator[Case]:
    """Cut a JPEG and a PNG at every 64th byte, or at `most` places: each is a copy of the photo."""
    for name in ("JPEG", "PNG"):
        data = encode(Image.fromarray(rgb), name)
        for length in range(0, len(data) - 20, max(64, len(data) // most)):
            allowed = BAD_PHOTO if length > 8 or length == 0 else DAMAGED
            yield Case(f"{name} cut at many places", data[:length], allowed)


def mutations(rgb: RGB, rng: random.Random) -> Iterator[Case]:
    """Change photos, JSON and forms at random, without end."""
    image = Image.fromarray(rgb)
    photos = [encode(image, name) for name in (*_FORMATS, "AVIF")]
    photos += [encode(image, "JPEG", progressive=True), encode(image.convert("CMYK"), "JPEG")]
    fixed = [case for case in hostile_cases(rgb) if len(case.body) < 200_000]
    text = base64.b64encode(photos[0]).decode()
    documents = [json.dumps(d).encode() for d in ({"image": text}, {"instances": [{"b64": text}]})]
    anything = DAMAGED | WRONG_JSON
    while True:
        choice = rng.random()
        if choice < 0.6:
            yield Case("changed photo", mutate(rng.choice(photos), rng), anything, _any_type(rng))
        elif choice < 0.7:
            yield Case("noise", rng.randbytes(rng.randrange(2000)), anything, _any_type(rng))
        elif choice < 0.8:
            path = rng.choice(("", V1_PATH))
            yield Case("changed JSON", mutate(rng.choice(documents), rng), anything, JSON_TYPE, path)
        elif choice < 0.9:
            body = mutate(form(file=rng.choice(photos), other=b"words"), rng)
            yield Case("changed form", body, anything | {500}, FORM_TYPE)
        else:
            yield rng.choice(fixed)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, cut, repeat or overwrite a stretch of `data`."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(content) or 1)
        span = rng.choice((1, 2, 4, 64))
        match rng.randrange(5):
            case 0 | 1 if content:
                content[at % len(content)] ^= 1 << rng.randrange(8)
            case 2:
                content[at : at + span] = rng.randbytes(span)
            case 3:
                content[at:at] = content[at : at + span]
            case _:
                del content[at : at + rng.choice((span, len(content)))]
    return bytes(content)


def _any_type(rng: random.Random) -> str | None:
    return rng.choice(
        (JPEG_TYPE, "image/png", "application/octet-stream", "text/plain", JSON_TYPE, None)
    )


def _bombs() -> Iterator[Case]:
    yield Case("PNG bomb, 60000 x 60000", png(60_000, 60_000, zlib.compress(bytes(2**20))), TOO_LARGE)
    yield Case("PNG bomb, 8000 x 8000", png(8000, 8000, zlib.compress(bytes(2**20))), TOO_LARGE)
    yield Case("PNG, 1 x 20001", encode(Image.new("L", (1, 20_001)), "PNG"), TOO_LARGE)
    jpeg = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    at = jpeg.index(b"\xff\xc0")  # the frame's header: length, precision, height, width
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    yield Case("JPEG bomb, 65500 x 65500", bytes(jpeg), TOO_LARGE)
    yield Case("JPEG bomb, 5000 scans", scan_bomb(), TOO_LARGE)
    webp = bytearray(encode(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0"))
    at = webp.index(b"VP8X") + 12  # after name, size, flags
    webp[at : at + 6] = (16_382).to_bytes(3, "little") * 2
    yield Case("WebP bomb, 16383 x 16383", bytes(webp), TOO_LARGE)
    tiff = encode(Image.new("L", (16, 16)), "TIFF")
    for tag in (256, 257):  # width and length
        tiff = tiff.replace(struct.pack("<HHIH", tag, 3, 1, 16), struct.pack("<HHIH", tag, 3, 1, 65_000))
        tiff = tiff.replace(struct.pack("<HHII", tag, 4, 1, 16), struct.pack("<HHII", tag, 4, 1, 65_000))
    yield Case("TIFF bomb, 65000 x 65000", tiff, TOO_LARGE)
    screen = b"\xff\xff\xff\xff"  # width and height
    gif = b"GIF89a" + screen + b"\x80\0\0" + bytes(6) + b",\0\0\0\0" + screen + b"\0\x02\x02L\x01\0;"
    yield Case("GIF bomb, 65535 x 65535", gif, TOO_LARGE)


def scan_bomb(scans: int = 5000) -> bytes:
    """Repeat a scan of a progressive JPEG, as each costs as much as the whole picture."""
    data = encode(Image.new("L", (640, 640)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + data[-2:]


def _no_photos(jpeg: bytes) -> Iterator[Case]:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("photo.jpg", jpeg)
    yield Case("empty body", b"", BAD_PHOTO)
    yield Case("zip under .jpg", archive.getvalue(), NO_PHOTO)
    yield Case("HTML under .jpg", b"<!doctype html><title>404</title>", NO_PHOTO)
    yield Case("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>', NO_PHOTO, "image/svg+xml")
    yield Case("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", NO_PHOTO)
    yield Case("zeros", bytes(1000), NO_PHOTO)
    yield Case("over 20 MiB", b"\xff\xd8\xff" + bytes(20 * 2**20), TOO_LARGE)
    form_type = "application/x-www-form-urlencoded"
    yield Case("curl -d, form-encoded", b"image=abc", NO_PHOTO, form_type)


def _odd_metadata(image: Image.Image) -> Iterator[Case]:
    """EXIF whose directories point at themselves; the photo around it is answered all the same."""
    loop = (
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    )
    yield Case("EXIF with a loop", encode(image, "JPEG", exif=loop), READABLE)
    yield Case("EXIF of 0xFF", encode(image, "JPEG", exif=b"Exif\0\0" + b"\xff" * 60), READABLE)
    tiff = bytearray(encode(image, "TIFF"))
    first = int.from_bytes(tiff[4:8], "little")
    entries = int.from_bytes(tiff[first : first + 2], "little")
    tiff[first + 2 + 12 * entries : first + 6 + 12 * entries] = tiff[4:8]  # next directory: the first
    yield Case("TIFF with a loop", bytes(tiff), READABLE)


def _bad_json(jpeg: bytes) -> Iterator[Case]:
    text = base64.b64encode(jpeg).decode()
    bodies = {
        "JSON cut short": b'{"image": "',
        "JSON 100,000 deep": b"[" * 100_000,
        "JSON 990 deep": b"[" * 990 + b"]" * 990,
        "JSON number of 5,000 digits": b"9" * 5000,
        "JSON string": b'"words"',
        "JSON half a character": rb'"\ud800"',
        "JSON null": b"null",
        "JSON empty list": b"[]",
        "JSON other key": b'{"photo": "aGk="}',
        "JSON image is a number": b'{"image": 3}',
        "JSON no base64": b'{"image": "no base64!"}',
        "JSON no ASCII": '{"image": "größe"}'.encode(),
        "JSON top_k 0": json.dumps({"image": text, "top_k": 0}).encode(),
        "JSON top_k a word": json.dumps({"image": text, "top_k": "many"}).encode(),
        "V1 without a list": b'{"instances": {"b64": "aGk="}}',
        "V1 of other objects": b'{"instances": [{"data": "aGk="}]}',
    }
    for kind, body in bodies.items():
        yield Case(kind, body, WRONG_JSON, JSON_TYPE, V1_PATH if kind.startswith("V1") else "")
    yield Case("JSON of words", b'{"image": "aGVsbG8="}', NO_PHOTO, JSON_TYPE)
    large = base64.b64encode(png(4000, 2000, zlib.compress(bytes(4001 * 2000)), colour=0)).decode()
    together = json.dumps([{"image": large}] * 7).encode()
    yield Case("JSON of 7 photos, 56 million pixels", together, TOO_LARGE, JSON_TYPE)
    yield Case("JSON of 17 photos", json.dumps([{"image": text}] * 17).encode(), TOO_LARGE, JSON_TYPE)


def _bad_forms(jpeg: bytes) -> Iterator[Case]:
    good = form(file=jpeg)
    yield Case("form with another boundary", good, BAD_PHOTO, "multipart/form-data; boundary=other")
    yield Case("form without a boundary", good, NO_PHOTO | BAD_PHOTO, "multipart/form-data")
    yield Case("form cut short", good[: len(good) // 2], BAD_PHOTO, FORM_TYPE)
    yield Case("form without a file", form(None, top_k=b"3"), BAD_PHOTO, FORM_TYPE)
    yield Case("form, empty file", form(file=b""), BAD_PHOTO, FORM_TYPE)
    yield Case("form, words", form(file=b"words"), NO_PHOTO, FORM_TYPE)
    padded = jpeg + bytes(4000)  # what goes missing must be larger than a part's headers
    twice = form(file=padded)[: -len(b"--edge--\r\n")] + form(file=padded)
    yield Case("form, two files of one name", twice, BAD_PHOTO, FORM_TYPE)
