"""One look at a file: what is wrong ends up in its row, with a reason of its own."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image

from benchmarks.reliability.costly_photos import PHOTOS
from model.formats import FORMATS
from training.data.manifest import Reason, Row
from training.data.prepare.scan import perceptual_hash, scan, scan_file

Jpeg = Callable[..., bytes]


def look(folder: Path, name: str, content: bytes) -> Row:
    (folder / name).write_bytes(content)
    return scan_file(folder, Row(name, "c", "train"))


def saved(kind: str, width: int = 40, height: int = 30) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def test_a_good_photo(tmp_path: Path, jpeg: Jpeg) -> None:
    content = jpeg(1, 64, 48)
    row = look(tmp_path, "a.JPG", content)
    assert (row.kept, row.reason, row.class_name, row.split) == (True, None, "c", "train")
    assert (row.bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (row.width, row.height, row.format) == (64, 48, "JPEG")
    assert len(row.phash) == 64


def test_sides_are_of_the_upright_photo(tmp_path: Path, jpeg: Jpeg) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    row = look(tmp_path, "a.jpg", jpeg(1, 64, 48, exif=exif))
    assert (row.width, row.height) == (48, 64)


@pytest.mark.parametrize("kind", sorted({*FORMATS} - {"JPEG", "HEIF"}))
def test_content_counts_and_a_wrong_extension_is_noted(tmp_path: Path, kind: str) -> None:
    content = saved(kind)
    wrong = look(tmp_path, "a.jpg", content)
    assert (wrong.kept, wrong.reason, wrong.detail) == (True, Reason.EXTENSION, f".jpg, but a {kind}")
    right = look(tmp_path, f"a.{kind}", content)
    assert (right.reason, right.format) == (None, kind)


def test_each_damage_has_its_reason(tmp_path: Path, jpeg: Jpeg) -> None:
    whole = jpeg(2)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    for content, reason in (
        (b"", Reason.EMPTY),
        (b"<html>404</html>", Reason.UNSUPPORTED),
        (whole[:-20], Reason.UNREADABLE),
        (whole[: len(whole) // 2], Reason.UNREADABLE),
        (saved("PNG")[:-200], Reason.UNREADABLE),
        (b"\xff\xd8\xff" + bytes(100), Reason.UNREADABLE),
        (b"\x89PNG\r\n\x1a\n" + ihdr + saved("PNG")[33:], Reason.TOO_LARGE),
    ):
        row = look(tmp_path, "a.jpg", content)
        assert (row.kept, row.reason) == (False, reason), content[:20]
        assert row.bytes == len(content)


def test_what_costs_too_much_has_its_reason(tmp_path: Path) -> None:
    slow = "the photo takes more than 1.5 s of CPU to decode, as much as it may"
    for kind, why in (
        ("BMP, ends of lines", (slow,)),
        # On a busy machine so much memory takes too long, too.
        ("TIFF, tags that share bytes", ("the photo takes more than 768 MiB of memory to decode", slow)),
    ):
        row = look(tmp_path, "photo", PHOTOS[kind]())
        assert row.reason == Reason.TOO_LARGE
        assert row.detail.startswith(why)


def test_an_enormous_file_is_hashed_without_being_held(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(21 * 2**20)
    row = scan_file(tmp_path, Row("a.jpg", "c"))
    assert (row.reason, row.bytes) == (Reason.TOO_LARGE, 21 * 2**20)
    assert row.sha256 == hashlib.sha256(bytes(21 * 2**20)).hexdigest()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    for name, why in (("dangling", "No such file"), ("circle", "Too many levels")):
        row = scan_file(tmp_path, Row(f"{name}.jpg", "c"))
        assert (row.kept, row.reason) == (False, Reason.UNOPENED)
        assert why in row.detail


def test_processes_return_the_same_rows_in_the_same_order(tmp_path: Path, jpeg: Jpeg) -> None:
    files = [Row(f"{i}.jpg", "c") for i in range(70)]
    for i, found in enumerate(files):
        (tmp_path / found.path).write_bytes(jpeg(i) if i % 7 else b"")
    rows = scan(tmp_path, files, workers=2)
    assert rows == scan(tmp_path, files, workers=1)
    assert [row.path for row in rows] == [found.path for found in files]


def differing(one: str, two: str) -> int:
    return (int(one, 16) ^ int(two, 16)).bit_count()


def test_hash_survives_what_happens_to_photos_on_their_way() -> None:
    rng = np.random.default_rng(4)
    blocks = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    photo = blocks.resize((320, 240), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    photo.resize((200, 150)).save(stream, "JPEG", quality=50)
    first, again = (perceptual_hash(np.asarray(p)) for p in (photo, Image.open(stream)))
    other = perceptual_hash(np.asarray(photo.rotate(180)))
    assert differing(first, again) <= 12
    assert differing(first, other) > 60


def test_the_hash_is_that_of_imagehash(jpeg: Jpeg) -> None:
    for seed in range(40):
        with Image.open(io.BytesIO(jpeg(seed, 64, 64))) as photo:
            grey = photo.convert("L")
        pixels = np.repeat(np.asarray(grey)[:, :, None].repeat(2, 0).repeat(2, 1), 3, axis=2)
        want = np.packbits(imagehash.phash(grey, hash_size=16).hash).tobytes().hex()
        assert perceptual_hash(pixels) == want


def test_a_photo_without_structure_has_no_hash() -> None:
    assert perceptual_hash(np.full((50, 60, 3), 90, np.uint8)) == ""
