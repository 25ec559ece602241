"""Requests that no client of ours would send, as bytes, with what a gate may make of each.

The kinds are those of published weaknesses of HTTP servers: lengths that two readers read differently
(request smuggling, https://portswigger.net/web-security/request-smuggling), old versions of HTTP, other
hosts, oversized and malformed heads, paths that lead elsewhere, keys that aren't one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

PATH = "/predictions/flying_objects"
BODY = b"photo"
SMUGGLED = b"GET /models HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@dataclass(frozen=True)
class Attack:
    """One connection's bytes.

    Attributes:
        kind: what it is, for the table.
        content: what is sent, all at once.
        may_pass: whether a request may reach the server, once, well-formed; otherwise nothing may.
        honest: whether it must, and be answered.
    """

    kind: str
    content: bytes
    may_pass: bool = False
    honest: bool = False


def attacks(host: str, key: str) -> Iterator[Attack]:
    """Make every kind, for a gate of this name and with a key that it knows."""
    own = f"Host: {host}\r\nAuthorization: Bearer {key}\r\n".encode()

    def post(more: bytes, body: bytes = BODY, path: str = PATH, version: str = "1.1") -> bytes:
        return f"POST {path} HTTP/{version}\r\n".encode() + own + more + b"\r\n" + body

    length = b"Content-Length: 5\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    chunks = b"5\r\nphoto\r\n0\r\n\r\n"
    yield Attack("an honest request", post(length), True, True)
    yield Attack("an honest request in chunks", post(chunked, chunks), True, True)
    yield Attack("no length, no body", post(b"", b""), may_pass=True)
    yield from _old_versions(own, length)
    for kind, more, body in _lengths(length, chunked, chunks):
        yield Attack(f"length: {kind}", post(more, body))
    for kind, body in _chunks():
        yield Attack(f"chunks: {kind}", post(chunked, body), may_pass=True)
    for kind, path in _paths():
        yield Attack(f"path: {kind}", post(length, path=path), may_pass=True)
    for kind, content in _heads(own, length):
        yield Attack(f"head: {kind}", content)
    nonsense = post(b"no colon\r\n" + length)
    yield Attack("head: a line without a colon", nonsense, may_pass=True)  # which nginx leaves out
    yield from _hosts(key, length)
    for kind, line in _keys(key):
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\n{line}".encode()
        yield Attack(f"key: {kind}", head + length + b"\r\n" + BODY)
    pipelined = post(length) + f"GET /models HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    yield Attack("pipelined, the second without a key", pipelined, may_pass=True)
    yield Attack("body over the limit", post(b"Content-Length: 99999999\r\n"))
    yield Attack(
        "body over the limit, expecting 100",
        post(b"Content-Length: 99999999\r\nExpect: 100-continue\r\n", b""),
    )


def _old_versions(own: bytes, length: bytes) -> Iterator[Attack]:
    yield Attack("HTTP/0.9", f"GET {PATH}\r\n".encode())
    head = f"POST {PATH} HTTP/1.0\r\n".encode()
    yield Attack("HTTP/1.0", head + own + length + b"\r\n" + BODY, may_pass=True)
    without = own.partition(b"\r\n")[2]
    yield Attack("HTTP/1.0 without a host", head + without + length + b"\r\n" + BODY, may_pass=True)
    te = b"Transfer-Encoding: chunked\r\n\r\n5\r\nphoto\r\n0\r\n\r\n"
    yield Attack("HTTP/1.0 in chunks", head + own + te)
    yield Attack("HTTP/1.0 in chunks and with a length", head + own + length + te)
    yield Attack("HTTP/2 without TLS", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    yield Attack("HTTP/3.0", f"POST {PATH} HTTP/3.0\r\n".encode() + own + length + b"\r\n" + BODY)
    yield Attack("TLS hello, or noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))


def _lengths(length: bytes, chunked: bytes, chunks: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    longer = BODY + SMUGGLED
    yield "two that differ", length + b"Content-Length: 44\r\n", longer
    yield "two that agree", length + length, longer
    yield "a list", b"Content-Length: 5, 44\r\n", longer
    yield "chunked with length", length + chunked, chunks + SMUGGLED
    yield "length with chunked", chunked + length, chunks + SMUGGLED
    for value in ("+5", "-5", "0x5", "5 5", "", "5;", "99999999999999999999"):
        yield f"{value!r}", f"Content-Length: {value}\r\n".encode(), longer
    yield "space before the colon", b"Content-Length : 5\r\n", longer
    yield "folded line", b"Content-Length:\r\n 5\r\n", longer
    for value in (
        "identity",
        "chunked, identity",
        "xchunked",
        "\x0bchunked",
        "gzip, chunked",
        "chunke\u0442",
    ):
        yield (
            f"encoding {value!a}",
            length + f"Transfer-Encoding: {value}\r\n".encode(),
            chunks + SMUGGLED,
        )
    yield "chunked twice", chunked + chunked, chunks + SMUGGLED
    yield "chunked, space before the colon", length + b"Transfer-Encoding : chunked\r\n", chunks


def _chunks() -> Iterator[tuple[str, bytes]]:
    end = b"\r\n0\r\n\r\n"
    yield "extension that ends with a line feed", b"5;\nphoto" + end  # CVE-2025-58056
    yield (
        "extension with a quoted line break",
        b'5;a="\r\n' + SMUGGLED + b'"\r\nphoto' + end,
    )  # CVE-2026-33870
    yield "smuggled after the last", b"5\r\nphoto" + end + SMUGGLED
    yield "size 0x5", b"0x5\r\nphoto" + end
    yield "size -5", b"-5\r\nphoto" + end
    yield "size over 64 bits", b"1" * 17 + b"\r\nphoto" + end
    yield "size without end", b"5" * 10_000
    yield "line feeds alone", b"5\nphoto\n0\n\n"
    yield "more than the size", b"5\r\nphotographs" + end
    yield "no last one", b"5\r\nphoto\r\n"
    yield "trailer with a length", b"5\r\nphoto\r\n0\r\nContent-Length: 44\r\n\r\n"
    yield "10,000 of one byte", b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"


def _paths() -> Iterator[tuple[str, str]]:
    for path in (
        *("/models", "//models", "/%6dodels", "/predictions/../models", "/predictions/%2e%2e/models"),
        *(
            "/predictions/flying_objects/../../models",
            "/predictions/..%2fmodels",
            "/predictions/..;/models",
        ),
        *("/models/../predictions/flying_objects", "/invocations/%2e%2e/predictions/flying_objects"),
        *("/predictions\\..\\models", "/predictions/%00", "/predictions/a%0d%0aHost:%20b", "*", "/"),
        *("/ping", "/metrics", "/api-description", "/v2/models", "/token", "/%ff%fe", "predictions"),
    ):
        yield path, path
    yield "64 KB", "/predictions/" + "a" * 65_536


def _heads(own: bytes, length: bytes) -> Iterator[tuple[str, bytes]]:
    line = f"POST {PATH} HTTP/1.1\r\n".encode()
    rest = length + b"\r\n" + BODY
    yield "a header of 64 KB", line + own + b"X-Large: " + b"a" * 65_536 + b"\r\n" + rest
    yield "10,000 headers", line + own + b"X-Many: a\r\n" * 10_000 + rest
    yield "a NUL", line + own + b"X-Nul: a\0b\r\n" + rest
    yield "a name of control characters", line + own + b"X\x01\x02: a\r\n" + rest
    yield "bare carriage returns", line + own + b"X-A: a\rTransfer-Encoding: chunked\r\n" + rest
    yield "control characters before it", b"\x00\x01\x02" + line + own + rest  # CVE-2026-50020
    yield "never ends", line + own + b"X-A: a\r\n"
    for method in (b"TRACE", b"CONNECT", b"PROPFIND", b"DELETE", b"post", b"P\0ST", b"A" * 9_000):
        yield f"method {method[:9].decode()!a}", line.replace(b"POST", method) + own + rest
    yield (
        "upgrade to HTTP/2",
        line
        + own
        + b"Upgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n"
        + b"Content-Length: x\r\n"
        + rest,
    )


def _hosts(key: str, length: bytes) -> Iterator[Attack]:
    own = f"Authorization: Bearer {key}\r\n".encode() + length + b"\r\n" + BODY
    for host in ("evil.example", "127.0.0.1:8081", "", "a b", "a/../b", "[::1", "a" * 5_000):
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\n".encode()
        yield Attack(f"host: {host[:20]!r}", head + own)
    line = f"POST {PATH} HTTP/1.1\r\n".encode()
    yield Attack("host: none", line + own)
    yield Attack("host: two", line + b"Host: a\r\nHost: b\r\n" + own)
    absolute = f"POST http://evil.example{PATH} HTTP/1.1\r\nHost: evil.example\r\n".encode()
    yield Attack("host: in the request line", absolute + own)


def _keys(key: str) -> Iterator[tuple[str, str]]:
    yield "none", ""
    yield "wrong", "Authorization: Bearer wrong\r\n"
    yield "cut short", f"Authorization: Bearer {key[:-1]}\r\n"
    yield "longer", f"Authorization: Bearer {key}x\r\n"
    yield "as Basic", f"Authorization: Basic {key}\r\n"
    yield "wrong, then right", f"Authorization: Bearer wrong\r\nAuthorization: Bearer {key}\r\n"
    yield "in the address alone", f"X-Authorization: Bearer {key}\r\n"
    yield "a pattern", "Authorization: ~.*\r\n"
