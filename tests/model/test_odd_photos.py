"""Photos that are whole but odd are answered with their pixels; the same ones cut short are refused.

Pixels of JPEGs are Pillow's. Both decode with libjpeg-turbo, whose versions may round the inverse
transform and the upsampling of colours differently; hence a tolerance of two grey levels. With one
version there is no difference.
"""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from model.errors import UnreadableImage, UnsupportedFormat
from model.image import decode_photo
from model.limits import RGB
from tests.helpers.odd_jpegs import EOI, JPEGS, SOS, Jpeg, Segment, encode, photo, planar
from tests.helpers.odd_photos import OTHERS, PNGS, TIFFS, tiff

TOLERANCE = 2
END = bytes([0xFF, EOI])
PHOTOS = PNGS | TIFFS | OTHERS
# The last byte is as good as exchanged for another one, and libjpeg may be content with that.
NOT_SEEN = {"a zero behind the scan", "noise behind the scan", "progressive, noise behind the scans"}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged Exif


def difference(data: bytes, expected: RGB) -> int:
    return int(np.abs(decode_photo(data).astype(int) - expected.astype(int)).max())


@pytest.mark.parametrize("name", JPEGS)
def test_an_odd_jpeg_is_decoded_as_pillow_does(name: str) -> None:
    jpeg, change = JPEGS[name]
    data = bytes(change(jpeg))
    assert difference(data, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))) <= TOLERANCE


@pytest.mark.parametrize("lost", [1, 2, 5])
@pytest.mark.parametrize("name", sorted(set(JPEGS) - NOT_SEEN))
def test_an_odd_jpeg_whose_scan_lacks_its_last_bytes_is_refused(name: str, lost: int) -> None:
    jpeg, change = JPEGS[name]
    with pytest.raises(UnreadableImage, match="can't be decoded to its end"):
        decode_photo(bytes(change(jpeg.lose(lost))))


@pytest.mark.parametrize("name", JPEGS)
def test_an_odd_jpeg_whose_file_is_cut_short_is_refused(name: str) -> None:
    jpeg = replace(JPEGS[name][1](JPEGS[name][0]), after=b"")
    start = bytes(jpeg).rindex(jpeg.segments[-1].data or b"\xff\xda")
    for data in (bytes(jpeg)[:-1], bytes(jpeg)[: start + 1], bytes(jpeg)[: start + 1] + END):
        with pytest.raises(UnreadableImage):
            decode_photo(data)


@pytest.mark.parametrize("name", sorted(NOT_SEEN))
def test_a_byte_exchanged_for_another_is_not_seen(name: str) -> None:
    jpeg, change = JPEGS[name]
    assert decode_photo(bytes(change(jpeg.lose(1)))).shape == (100, 150, 3)


@pytest.mark.parametrize("at_least", [0, 20])
@pytest.mark.parametrize("name", JPEGS)
def test_an_odd_jpeg_can_be_decoded_smaller(name: str, at_least: int) -> None:
    jpeg, change = JPEGS[name]
    pixels = decode_photo(bytes(change(jpeg)), at_least=at_least)
    assert min(pixels.shape[:2]) >= min(20, min(decode_photo(bytes(change(jpeg))).shape[:2]))


def test_scans_that_never_come_are_missed() -> None:
    """With an end of image behind the scans that came, libjpeg takes zeros without a warning."""
    for jpeg in (encode(photo(), progressive=True), planar((2, 2))):
        for lost in range(1, sum(s.marker == SOS for s in jpeg.segments)):
            at = [k for k, s in enumerate(jpeg.segments) if s.marker == SOS][-lost]
            with pytest.raises(UnreadableImage, match="lacks scans; send a complete file"):
                decode_photo(bytes(replace(jpeg, segments=jpeg.segments[:at])))


def test_a_jpeg_with_two_sizes_is_refused() -> None:
    """Pillow takes a hierarchy's size for the picture's; the decoder would make room for another."""
    jpeg = encode(photo())
    frame = next(s for s in jpeg.segments if s.marker == 0xC0).content
    hierarchy = Segment(0xDE, frame[:1] + b"\0\x10\0\x10" + frame[5:])
    with pytest.raises(UnreadableImage, match="two sizes, 16 x 16 and 150 x 100 pixels"):
        decode_photo(bytes(jpeg.put(hierarchy, at=len(jpeg.segments) - 1)))


@pytest.mark.parametrize("jpeg", [encode(photo()), encode(photo(), progressive=True)])
@pytest.mark.parametrize("header", [b"", b"\1", b"\1\1\0\0\x3f", b"\3\1\0\0\x3f\0"])
@pytest.mark.parametrize("gap", [b"", b"\0"])
def test_a_scan_with_a_header_of_another_length_is_refused(
    jpeg: Jpeg, header: bytes, gap: bytes
) -> None:
    odd = jpeg.edit(SOS, lambda scan: replace(scan, content=header, before=gap))
    with pytest.raises(UnreadableImage, match="lacks scans; send a complete file"):
        decode_photo(bytes(odd))


@pytest.mark.parametrize("name", PHOTOS)
def test_an_odd_photo_is_decoded(name: str) -> None:
    assert difference(PHOTOS[name].whole, PHOTOS[name].shows) <= 1


@pytest.mark.parametrize("name", PHOTOS)
def test_an_odd_photo_that_is_cut_short_is_refused(name: str) -> None:
    with pytest.raises(UnreadableImage):
        decode_photo(PHOTOS[name].cut)


@pytest.mark.parametrize(
    ("kind", "bits", "tags"),
    [
        (np.int32, 32, {}),
        (np.uint32, 32, {}),
        (np.int16, 16, {339: (2,)}),
        (np.int32, 32, {339: (2,)}),
        (np.float32, 32, {339: (3,)}),
    ],
)
def test_grey_without_a_known_range_is_unsupported(
    kind: type, bits: int, tags: dict[int, tuple[int, ...]]
) -> None:
    pixels = np.linspace(0, 60_000, 64 * 48).reshape(48, 64).astype(kind)
    with pytest.raises(UnsupportedFormat, match="pixels; send 8 or 16 bits a channel"):
        decode_photo(tiff(pixels, {258: (bits,), 262: (1,), 277: (1,)} | tags).whole)
