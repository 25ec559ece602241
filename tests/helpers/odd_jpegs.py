"""JPEGs as cameras, phones, drones and editors write them: whole, but not as an encoder of ours would.

Each oddity is a function from a plain JPEG to an odd one, so that it can also be had from a JPEG that
lacks the last byte of a scan.
"""

import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

Change = Callable[["Jpeg"], "Jpeg"]
SOI, EOI, SOS = 0xD8, 0xD9, 0xDA


@dataclass(frozen=True)
class Segment:
    """A marker with its content; behind a start of scan `data`; ahead of and behind it any bytes."""

    marker: int
    content: bytes = b""
    data: bytes = b""
    before: bytes = b""

    def __bytes__(self) -> bytes:
        length = (len(self.content) + 2).to_bytes(2)
        return self.before + bytes([0xFF, self.marker]) + length + self.content + self.data


@dataclass(frozen=True)
class Jpeg:
    """Segments between start and end of image; `surplus` follows the last scan, `after` the end."""

    segments: tuple[Segment, ...]
    surplus: bytes = b""
    after: bytes = b""

    def __bytes__(self) -> bytes:
        parts = b"".join(map(bytes, self.segments))
        return bytes([0xFF, SOI]) + parts + self.surplus + bytes([0xFF, EOI]) + self.after

    def edit(self, marker: int, change: Callable[[Segment], Segment]) -> "Jpeg":
        """Change each segment with this marker."""
        return replace(
            self, segments=tuple(change(s) if s.marker == marker else s for s in self.segments)
        )

    def put(self, *new: Segment, at: int = 1) -> "Jpeg":
        """Insert segments, behind the JFIF header if `at` isn't given."""
        return replace(self, segments=self.segments[:at] + new + self.segments[at:])

    def without(self, *markers: int) -> "Jpeg":
        """Drop all segments with these markers."""
        return replace(self, segments=tuple(s for s in self.segments if s.marker not in markers))

    def lose(self, count: int, scan: int = -1) -> "Jpeg":
        """Lose the last bytes of a scan; 0xFF and the 0x00 behind it count as one."""
        places = [k for k, s in enumerate(self.segments) if s.marker == SOS]
        at = places[scan]
        data = self.segments[at].data
        for _ in range(count):
            data = data[:-2] if data.endswith(b"\xff\0") else data[:-1]
        changed = replace(self.segments[at], data=data)
        return replace(self, segments=(*self.segments[:at], changed, *self.segments[at + 1 :]))


def parse(data: bytes) -> Jpeg:
    """Take apart a JPEG that has nothing odd about it."""
    segments, at = [], 2
    while data[at + 1] != EOI:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        until = end
        while data[at + 1] == SOS and (
            data[until] != 0xFF or data[until + 1] in (0, *range(0xD0, 0xD8))
        ):
            until += 1
        segments.append(Segment(data[at + 1], data[at + 4 : end], data[end:until]))
        at = until
    return Jpeg(tuple(segments))


def encode(image: Image.Image, **options: object) -> Jpeg:
    """Encode with Pillow."""
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return parse(file.getvalue())


def photo(mode: str = "RGB", width: int = 150, height: int = 100) -> Image.Image:
    """Smooth areas, edges and noise."""
    random = np.random.default_rng(3)
    coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + random.integers(-8, 9, smooth.shape)
    noisy[height // 3 : height // 2, width // 4 : width // 2] = 250
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def planar(sampling: tuple[int, int], width: int = 150, height: int = 100) -> Jpeg:
    """One scan for each of Y, Cb and Cr, the latter with fewer pixels; made of three grey JPEGs."""
    across, down = sampling
    planes = photo("YCbCr", width, height).split()
    small = (-(-width // across), -(-height // down))
    parts = [
        encode(plane if k == 0 else plane.resize(small), quality=90) for k, plane in enumerate(planes)
    ]
    factors = (across << 4 | down, 0x11, 0x11)
    components = b"".join(bytes([k + 1, factor, 0]) for k, factor in enumerate(factors))
    size = parts[0].segments
    frame = next(s for s in size if s.marker == 0xC0).content[:5]
    scans = [
        replace(s, content=bytes([1, k + 1, 0, 0, 63, 0]))
        for k, part in enumerate(parts)
        for s in part.segments
        if s.marker == SOS
    ]
    whole = parts[0].edit(0xC0, lambda s: replace(s, content=frame + b"\3" + components))
    return replace(whole.without(SOS), segments=(*whole.without(SOS).segments, *scans))


def _behind_scans(surplus: bytes) -> Change:
    return lambda jpeg: jpeg.edit(SOS, lambda s: replace(s, data=s.data + surplus))


def _between(junk: bytes) -> Change:
    """Behind the first segment, as format is told by the bytes ahead of it."""
    return lambda jpeg: replace(
        jpeg,
        segments=(jpeg.segments[0], *(replace(s, before=junk) for s in jpeg.segments[1:])),
    )


def _nothing(jpeg: Jpeg) -> Jpeg:
    return jpeg


def _content(marker: int, at: int, value: bytes) -> Change:
    def change(segment: Segment) -> Segment:
        content = segment.content[:at] + value + segment.content[at + len(value) :]
        return replace(segment, content=content)

    return lambda jpeg: jpeg.edit(marker, change)


def _ahead_of_a_restart(jpeg: Jpeg) -> Jpeg:
    return jpeg.edit(SOS, lambda s: replace(s, data=s.data.replace(b"\xff\xd1", bytes(9) + b"\xff\xd1")))


def _twice(jpeg: Jpeg) -> Jpeg:
    first = next(k for k, s in enumerate(jpeg.segments) if s.marker == SOS)
    return jpeg.put(jpeg.segments[first], at=first)


_NOISE = random.Random(5).randbytes(300).replace(b"\xff", b"\xfe")
_THUMBNAIL = bytes(encode(photo(width=16, height=16)))
_ADOBE = b"Adobe\0\x64\0\0\0\0"
_VIDEO = b"\0\0\0\x18ftypmp42" + _NOISE + b"\xff\xda\xff\xd9"

_ODDITIES: dict[str, Change] = {
    "scan parameters of zero (some phones)": _content(SOS, 7, bytes(3)),
    "scan parameters of zero, zeros behind the scan": lambda j: _behind_scans(bytes(30))(
        _content(SOS, 7, bytes(3))(j)
    ),
    "zeros between segments": _between(bytes(2)),
    "words between segments": _between(b"Camera 1.0"),
    "0xFF00 between segments": _between(b"\xff\0"),
    "0xFF between segments": _between(b"\xff" * 5),
    "a zero behind the scan": _behind_scans(bytes(1)),
    "2 zeros behind the scan": _behind_scans(bytes(2)),
    "16 zeros behind the scan": _behind_scans(bytes(16)),
    "4,096 zeros behind the scan": _behind_scans(bytes(4096)),
    "noise behind the scan": _behind_scans(_NOISE),
    "0xFF behind the scan": _behind_scans(b"\xff" * 7),
    "a restart marker behind the scan": _behind_scans(b"\xff\xd0"),
    "an empty DNL segment behind the scan": lambda j: replace(j, surplus=b"\xff\xdc\0\4\0\x64"),
    "a comment behind the scan": lambda j: replace(j, surplus=bytes(Segment(0xFE, b"words"))),
    "zeros behind the end": lambda j: replace(j, after=bytes(5000)),
    "a video behind the end": lambda j: replace(j, after=_VIDEO),
    "a second JPEG behind the end": lambda j: replace(j, after=_THUMBNAIL),
    "JFIF 3.1": _content(0xE0, 5, b"\3\1"),
    "no JFIF header": lambda j: j.without(0xE0),
    "an unknown colour transform": lambda j: j.without(0xE0).put(Segment(0xEE, _ADOBE + b"\7"), at=0),
    "an Adobe header that is cut short": lambda j: j.put(Segment(0xEE, b"Adobe\0\x64")),
    "a damaged colour profile": lambda j: j.put(Segment(0xE2, b"ICC_PROFILE\0\7\2no profile")),
    "half a colour profile": lambda j: j.put(Segment(0xE2, b"ICC_PROFILE\0\1\2" + _NOISE)),
    "damaged Exif": lambda j: j.put(Segment(0xE1, b"Exif\0\0" + b"\xff" * 40)),
    "Exif with a photo in it": lambda j: j.put(Segment(0xE1, b"Exif\0\0MM\0*" + _THUMBNAIL)),
    "Exif behind the frame": lambda j: j.put(Segment(0xE1, b"Exif\0\0MM\0*\0\0\0\10\0\0"), at=4),
    "260 KB of application data": lambda j: j.put(*[Segment(0xEC, bytes(65533))] * 4),
    "an empty application segment": lambda j: j.put(Segment(0xE7)),
    "tables twice": lambda j: j.put(*[s for s in j.segments if s.marker in (0xDB, 0xC4)]),
    "extended sequential": lambda j: j.edit(0xC0, lambda s: replace(s, marker=0xC1)),
}

_PROGRESSIVE = encode(photo(), progressive=True)
_PLAIN = encode(photo())

# What is odd -> a JPEG, and how it becomes odd.
JPEGS: dict[str, tuple[Jpeg, Change]] = {
    **{name: (_PLAIN, change) for name, change in _ODDITIES.items()},
    "grey": (encode(photo("L")), _nothing),
    "grey with sampling factors": (encode(photo("L", 160, 96)), _content(0xC0, 7, b"\x22")),
    "4:4:4": (encode(photo(), subsampling="4:4:4"), _nothing),
    "4:2:2": (encode(photo(), subsampling="4:2:2"), _nothing),
    "CMYK": (encode(photo("CMYK")), _nothing),
    "CMYK without a header": (encode(photo("CMYK")), lambda j: j.without(0xEE)),
    "RGB by its header": (encode(photo(), keep_rgb=True), _nothing),
    "optimized": (encode(photo(), optimize=True), _nothing),
    "progressive": (_PROGRESSIVE, _nothing),
    "progressive, zeros behind the scans": (_PROGRESSIVE, _behind_scans(bytes(16))),
    "progressive, noise behind the scans": (_PROGRESSIVE, _behind_scans(_NOISE)),
    "progressive, zeros between segments": (_PROGRESSIVE, _between(bytes(3))),
    "progressive, JFIF 3.1": (_PROGRESSIVE, _content(0xE0, 5, b"\3\1")),
    "progressive, the first scan twice": (_PROGRESSIVE, _twice),
    "restart markers": (encode(photo(), restart_marker_blocks=4), _nothing),
    "restart markers, zeros ahead of one": (
        encode(photo(), restart_marker_blocks=4),
        _ahead_of_a_restart,
    ),
    "restart markers, zeros behind the scan": (
        encode(photo(), restart_marker_rows=1),
        _behind_scans(bytes(16)),
    ),
    "one pixel": (encode(photo(width=1, height=1)), _nothing),
    "one column": (encode(photo(width=1, height=90)), _nothing),
    "a plain area, whose scan ends in zeros, and zeros behind it": (
        encode(Image.new("RGB", (97, 64), "navy"), optimize=True),
        _behind_scans(bytes(16)),
    ),
    "a scan for each colour, 4:4:4": (planar((1, 1)), _nothing),
    "a scan for each colour, 4:2:0": (planar((2, 2)), _nothing),
    "a scan for each colour, 4:1:1": (planar((4, 1)), _nothing),
    "a scan for each colour, 4:4:1": (planar((1, 4)), _nothing),
    "a scan for each colour, 4:1:0": (planar((4, 2)), _nothing),
    "a scan for each colour, parameters of zero": (planar((2, 1)), _content(SOS, 3, bytes(3))),
    "a scan for each colour, zeros behind them": (planar((2, 1)), _behind_scans(bytes(16))),
}
