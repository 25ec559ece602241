"""JPEG to pixels: whatever is whole, however odd, and nothing that is cut short.

libjpeg decodes what it gets: where a scan ends early it goes on with zeros and leaves a warning, and it
warns in the same way of bytes between segments, odd parameters and other things that cameras, phones and
editors write and that cost no pixel. Only the first warning of a file shows. So a photo is decoded
strictly, and where that fails once more without what is odd about it: what libjpeg still warns of is
damage to the picture.
"""

import io
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from model.errors import PhotoTooLarge, UnreadableImage

Pixels = npt.NDArray[np.uint8]  # (H, W, 3)

# Markers of ITU-T T.81, table B.1.
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xCA)
_SEQUENTIAL = bytes([0, 63, 0])  # of a scan: first and last coefficient, bits of them
_TABLES = (0xC4, 0xCC, 0xDB, 0xDD)  # Huffman, arithmetic, quantization, restart interval
_APP0, _APP14 = 0xE0, 0xEE
# A marker with a length after it, or the picture's end. Compressed data never looks like one: there
# 0xFF is followed by 0x00 or a restart marker (section B.1.1.5).
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

# libjpeg's warning (jerror.h) of bytes ahead of the APPn segments that `_join` puts behind each scan,
# and what keeps simplejpeg from saying whether a photo is whole.
_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0xe([0-9a-f])")
_UNDECIDED = re.compile(
    "determine subsampling|Inconsistent progression|extraneous bytes before marker 0xd[0-7]"
)
_READ_AHEAD = 8  # bytes that libjpeg's bit buffer may hold beyond the last that was needed
_ZEROS_AT_END = b"\0\0\xff\xd9"  # ahead of the end of image; hardly any scan ends so
# Compressed data of no meaning: photos of which some is missing differ with it.
_FILLS = [Random(seed).randbytes(16).replace(b"\xff", b"\xfe") for seed in range(6)]


class OddJpeg(ValueError):
    """A JPEG that libjpeg warns of."""


@dataclass(frozen=True)
class _Scan:
    tables: bytes  # the segments ahead of the compressed data, start of scan included
    data: bytes


def read_frame(data: bytes | bytearray, max_scans: int) -> tuple[int, int]:
    """Read width and height, and see that all scans are there, but not too many.

    Nearly all photos have one, which the decoder stops after: the first scan of a sequential frame with
    all its components. Only for others the whole file is looked at.

    Raises:
        PhotoTooLarge: there are more than `max_scans`.
        UnreadableImage: there is no frame, or scans are missing, for which libjpeg would take zeros.
    """
    kind, frame, scans = 0, b"", []
    for marker, _, start, end in _segments(data):
        if marker in _FRAMES:
            kind, frame = marker, bytes(data[start:end])
        elif marker == _SOS:
            scans.append(bytes(data[start:end]))
            if kind not in _PROGRESSIVE and frame[5:6] == scans[0][:1]:
                break
            if len(scans) > max_scans:
                raise PhotoTooLarge(
                    f"the JPEG photo has more than {max_scans} scans, {max_scans} are allowed; save it "
                    "again"
                )
    if not frame or not _bring_all(scans, kind, frame):
        raise UnreadableImage("the JPEG photo lacks scans; send a complete file")
    return int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3])


def _bring_all(scans: Sequence[bytes], kind: int, frame: bytes) -> bool:
    """Whether scans, by their headers, have all components, progressive ones all bits of all of them."""
    if not all(scan and len(scan) == 4 + 2 * scan[0] for scan in scans):  # section B.2.3
        return False
    if kind not in _PROGRESSIVE:
        return {c for scan in scans for c in scan[1:-3:2]} >= set(frame[6::3])
    lacking = {(c, k): 1 for c in frame[6::3] for k in range(64)}  # bits of coefficients
    for scan in scans:
        first, last, bits = scan[-3:]
        lacking |= {(c, k): bits & 15 for c in scan[1:-3:2] for k in range(first, last + 1)}
    return not any(lacking.values())


def decode_jpeg(data: bytes | bytearray, cmyk: bool, **least_sides: int) -> Pixels:
    """Decode a whole JPEG as (H, W, 3) uint8 RGB, however odd it is.

    Raises:
        ValueError: the picture is cut short or damaged.
    """
    try:
        return decode_plainly(data, cmyk, **least_sides)
    except OddJpeg as odd:
        scans = _read_scans(data)
        try:
            return _decode_scans(scans, cmyk, **least_sides)
        except ValueError as error:
            if _UNDECIDED.search(str(error)) and (pixels := _decode_with_pillow(scans)) is not None:
                return pixels
        raise ValueError(str(odd)) from odd


def decode_plainly(data: bytes | bytearray, cmyk: bool, **least_sides: int) -> Pixels:
    """Decode a JPEG with nothing odd about it; `least_sides` as `simplejpeg.decode_jpeg` takes them.

    Raises:
        OddJpeg: there is something odd; the picture may be whole or not.
    """
    try:
        pixels = _decode(data, cmyk, **least_sides)
    except ValueError as error:
        raise OddJpeg(str(error)) from error
    if data.endswith(_ZEROS_AT_END):
        raise OddJpeg("zeros in the place of its last bytes")
    return pixels


def _decode(data: bytes | bytearray, cmyk: bool, **least_sides: int) -> Pixels:
    """Decode strictly: a warning of libjpeg raises a ValueError with its text."""
    if not cmyk:
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", **least_sides))
    inverted = 255 - simplejpeg.decode_jpeg(data, "CMYK")  # as Adobe writes it
    return np.asarray(Image.fromarray(inverted, "CMYK").convert("RGB"))


def _segments(data: bytes | bytearray) -> Iterator[tuple[int, int, int, int]]:
    """Walk from segment to segment to the end as libjpeg does, over whatever lies between them.

    Yields:
        The marker, where it is, and where its content starts and ends, without the length.
    """
    end = 2
    while found := _MARKER.search(data, end):
        marker, end = data[found.end() - 1], found.end()
        if marker == _EOI:  # what follows may be anything, such as a video
            yield marker, found.start(), end, end
            return
        end += int.from_bytes(data[end : end + 2])
        yield marker, found.start(), found.end() + 2, end


def _read_scans(data: bytes | bytearray) -> list[_Scan]:
    """Keep of a file what the picture needs, with parameters that libjpeg doesn't warn of.

    Without an end of image there are no scans: nobody can say then what should have followed.
    """
    segments = list(_segments(data))
    kind, start = next((marker, start) for marker, _, start, _ in segments if marker in _FRAMES)
    scans, tables = [], b""
    whole = segments[-1][0] == _EOI
    for (marker, _, begin, end), (_, following, _, _) in pairwise(segments if whole else []):
        content = bytearray(data[begin:end])
        if marker == _SOS:
            if kind not in _PROGRESSIVE:
                content[-3:] = _SEQUENTIAL  # some phones leave zeros here
        elif marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
            content[5] = 1  # the major version
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            if content[11]:  # the transform; libjpeg takes these where it doesn't know it
                content[11] = 1 if data[start + 5] == 3 else 2
        elif marker not in _FRAMES and marker not in _TABLES:
            continue
        tables += bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2) + content
        if marker == _SOS:
            # In compressed data 0x00 follows 0xFF; at the end 0xFF fills up to the marker.
            scans.append(_Scan(tables, bytes(data[end:following]).rstrip(b"\xff")))
            tables = b""
    return scans


def _join(scans: Sequence[_Scan]) -> bytes:
    """Write a JPEG of `scans`, with an empty APPn segment behind each, n being its number modulo 16."""
    parts = [bytes([0xFF, _SOI])]
    for number, scan in enumerate(scans):
        parts += scan.tables, scan.data, bytes([0xFF, _APP0 | number & 15, 0, 2])
    return b"".join([*parts, bytes([0xFF, _EOI])])


def _decode_scans(scans: list[_Scan], cmyk: bool, **least_sides: int) -> Pixels:
    """Decode without what follows the compressed data of a scan: many cameras fill up with zeros.

    Raises:
        ValueError: a scan lacks its end, or what follows was taken for it.
    """
    scans, number = scans.copy(), 0
    for k, scan in enumerate(scans):
        if scan.data.endswith(b"\0\0"):
            scans[k] = _cut(scans, k, len(scan.data.rstrip(b"\0")), len(scan.data))
    try:
        return _decode(_join(scans), cmyk, **least_sides)
    except ValueError as error:
        warning = str(error)
    while found := _SURPLUS.search(warning):
        number = next(k for k in range(number, len(scans)) if k & 15 == int(found[2], 16))
        most = len(scans[number].data) - int(found[1])
        scans[number] = _cut(scans, number, max(most - _READ_AHEAD, 0), most)
        number += 1
        warning = _warning(scans)
    if warning:
        raise ValueError(warning)
    return _decode(_join(scans), cmyk, **least_sides)


def _cut(scans: list[_Scan], number: int, least: int, most: int) -> _Scan:
    """Cut a scan to what the decoder needs of it, which is between `least` and `most` bytes."""
    data = scans[number].data

    def put(new: bytes) -> list[_Scan]:
        return [*scans[:number], replace(scans[number], data=new), *scans[number + 1 :]]

    def is_enough(length: int) -> bool:
        warning = _warning(put(data[:length]))
        return not warning or _SURPLUS.search(warning) is not None

    if is_enough(least):  # without a single zero of those that follow
        return replace(scans[number], data=data[:least])
    end = least + 1 + bisect_left(range(least + 1, most), True, key=is_enough)
    zeros = not data[end:].strip(b"\0")
    # The last code of a progressive scan may be a run of any length that is long enough (G.1.2.2).
    can_tell = scans[number].tables.endswith(_SEQUENTIAL) or not data[end - 1]
    if can_tell and not _is_filled_up(data[:end], zeros, lambda new: _outcome(put(new))):
        raise ValueError("the scan lacks bytes at its end")
    return replace(scans[number], data=data[:end])


def _is_filled_up(data: bytes, zeros: bool, decode: Callable[[bytes], object]) -> bool:
    """Whether the last byte is a scan's last: the bits after its last code are ones (F.1.2.3).

    Some encoders write `zeros` there; then the byte has a one before them. Which bits are read shows
    where one is changed.
    """
    last, before = data[-1], data[:-1]
    if data.endswith(b"\xff\0"):  # eight ones
        return True
    outcome = decode(data)

    def is_read(bit: int) -> bool:
        changed = bytes([last ^ bit])
        return outcome != decode(before + changed.replace(b"\xff", b"\xff\0"))

    return is_read(~last & (last + 1)) or (zeros and last > 0 and is_read(last & -last))


def _warning(scans: Sequence[_Scan]) -> str:
    """libjpeg's first warning, or ""; looked for at an eighth of the size, which takes less time."""
    try:
        simplejpeg.decode_jpeg(_join(scans), "RGB", min_height=1, min_width=1)
    except ValueError as error:
        return str(error)
    return ""


def _outcome(scans: Sequence[_Scan]) -> tuple[str, bytes]:
    """libjpeg's first warning, and the pixels whatever it warns of."""
    try:
        pixels = simplejpeg.decode_jpeg(_join(scans), "RGB", strict=False).tobytes()
    except ValueError:
        pixels = b""
    return _warning(scans), pixels


def _decode_with_pillow(scans: Sequence[_Scan]) -> Pixels | None:
    """Decode what simplejpeg can't, or None where the pixels depend on what is put behind the scans."""
    pixels, *others = (
        np.asarray(Image.open(io.BytesIO(_join([_extend(scan, fill) for scan in scans]))).convert("RGB"))
        for fill in _FILLS
    )
    return pixels if all(np.array_equal(pixels, other) for other in others) else None


def _extend(scan: _Scan, fill: bytes) -> _Scan:
    """Put `fill` behind the data, and one restart interval more of it."""
    restart = len(_RESTART.findall(scan.data)) & 7
    return replace(scan, data=scan.data + fill + bytes([0xFF, 0xD0 | restart]) + fill)
