"""Bodies within the size limit that would cost far more time or memory than what they hold is worth.

The photos are in `benchmarks.reliability.costly_photos`; here are JSON, forms, and all of it as cases.
"""

import io
import json
from collections.abc import Iterator

from benchmarks.reliability.corpus import FORM_TYPE, JPEG_TYPE, JSON_TYPE, Case
from benchmarks.reliability.costly_photos import PHOTOS
from model.formats import FORMATS

ANY = frozenset({200, 400, 413, 415, 422})  # within its means a body may be answered
_MB = 1_000_000


def costly_cases() -> Iterator[Case]:
    """Make one body of each kind; some take a second."""
    for kind, make in PHOTOS.items():
        if kind.split(",")[0] in ("AVIF",) and "AVIF" not in FORMATS:
            continue
        yield Case(kind, make(), ANY, JPEG_TYPE)
    for kind, body in json_bodies():
        yield Case(kind, body, ANY, JSON_TYPE)
    for kind, body in _forms():
        yield Case(kind, body, ANY, FORM_TYPE)


def json_bodies() -> Iterator[tuple[str, bytes]]:
    """Make one body of each kind of JSON."""
    yield "JSON, empty objects", b"[" + b"{}," * (2 * _MB) + b"{}]"
    yield "JSON, empty lists", b"[" + b"[]," * (2 * _MB) + b"[]]"
    yield "JSON, numbers", b"[" + b"1," * (10 * _MB) + b"1]"
    yield "JSON, keys", b"{" + b",".join(b'"%d":0' % i for i in range(_MB)) + b"}"
    yield "JSON, deep", b"[" * (20 * _MB)
    yield "JSON, deep objects", b'{"image":' * (2 * _MB)
    yield "JSON, digits", b'{"top_k":' + b"9" * (20 * _MB) + b"}"
    yield "JSON, decimals", b'{"top_k":1.' + b"9" * (20 * _MB) + b"}"
    yield "JSON, exponent", b'{"image": "", "top_k": 1e999}'
    yield "JSON, escapes", b'{"image":"' + rb"\u0041" * (3 * _MB) + b'"}'
    yield "JSON, words in base64", json.dumps({"image": "A " * (10 * _MB)}).encode()
    yield "JSON, not ASCII", json.dumps({"image": "ä" * (10 * _MB)}, ensure_ascii=False).encode()
    yield "JSON, in UTF-32", json.dumps([{}] * 400_000).encode("utf-32")
    yield "JSON, spaces", b" " * (20 * _MB) + b"{}"
    yield "JSON, data URL", b'{"image":"data:' + b"," * 200 + b"a" * (20 * _MB) + b'"}'


def _forms() -> Iterator[tuple[str, bytes]]:
    def parts(n: int, name: str, content: bytes = b"x") -> bytes:
        files = io.BytesIO()
        for i in range(n):
            head = f'--edge\r\nContent-Disposition: form-data; name="{name.format(i)}"\r\n\r\n'
            files.write(head.encode() + content + b"\r\n")
        return files.getvalue() + b"--edge--\r\n"

    yield "form, 10,000 parts", parts(10_000, "f{}")
    yield "form, 100,000 parts", parts(100_000, "f{}")
    yield "form, 100,000 parts of one name", parts(100_000, "file")
