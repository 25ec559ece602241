"""Archives that say one thing and hold another, or too much: refused before a server unpacks them."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import InputError
from serving.archive import layout
from serving.archive.build import read_archive, read_golden_photos
from serving.archive.layout import MANIFEST, check_model, check_version, unpack

Repack = Callable[..., Path]
Damage = Callable[[bytearray], bytearray]

NO_VERSIONS = ["2.0#", "", "../x", "3.0?x=1", "2.0/", "2.", ".5", "1..2", "v1", "1.0\n", "1" * 65]
NO_VERSIONS += ["\uff12.\uff10", "\u0662.0", "1.\u00b2"]  # digits in other scripts


@pytest.mark.parametrize("version", [*NO_VERSIONS, 3.5, 1, None, ["1.0"]])
def test_a_version_that_no_request_could_name_is_refused(
    repack: Repack, tmp_path: Path, version: object
) -> None:
    def change(text: str) -> str:
        document = json.loads(text)
        document["model"]["modelVersion"] = version
        return json.dumps(document)

    path = repack(tmp_path / "a.mar", {MANIFEST: change})
    with pytest.raises(InputError, match=r"a\.mar' isn't a valid archive \(version .* must be numbers"):
        read_archive(path)


@pytest.mark.parametrize("version", ["1", "1.0", "2.1.3", "1.0.0.0.0", "20261125", "1" * 64])
def test_a_version_of_numbers_and_dots_is_one(version: str) -> None:
    check_version(version)


def test_a_name_has_a_limit() -> None:
    check_model("a" * 64)
    with pytest.raises(InputError, match="at most 64"):
        check_model("a" * 65)


def packed(path: Path, files: dict[str, bytes]) -> bytearray:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("count", [60 << 20, 70 << 20])
def test_what_unpacks_to_fifty_times_its_size_is_refused(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.mar"
    packed(path, {"bundle/big": bytes(count)})
    if count < layout.ALWAYS_BYTES:
        assert (unpack(path, tmp_path / "folder") / "bundle" / "big").stat().st_size == count
        return
    for read in (read_archive, read_golden_photos, lambda p: unpack(p, tmp_path / "folder")):
        with pytest.raises(InputError, match=rf"1 files of {count} bytes; .* of 67108864 are allowed"):
            read(path)
    assert list(tmp_path.iterdir()) == [path]


def says_less(content: bytearray) -> bytearray:
    """Declare 10 bytes everywhere; zipfile stops there, whoever inflates the stream doesn't."""
    size = struct.pack("<I", 5000)
    assert content.count(size) == 2
    return content.replace(size, struct.pack("<I", 10))


def hides_an_entry(content: bytearray) -> bytearray:
    """Leave the first entry out of the list at the end."""
    start = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", start + 4)
    ended = content.index(b"PK\x05\x06")
    head = struct.pack("<2H2I", 1, 1, ended - second, start)
    return content[:start] + content[second : ended + 8] + head + content[ended + 20 :]


def hides_the_last_entry(content: bytearray) -> bytearray:
    start = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", start + 4)
    ended = content.index(b"PK\x05\x06")
    head = struct.pack("<2H2I", 1, 1, second - start, start)
    return content[:second] + content[ended : ended + 8] + head + content[ended + 20 :]


def names_it_differently(content: bytearray) -> bytearray:
    return content.replace(b"bundle/big", b"bundle/wig", 1)


def has_something_in_front(content: bytearray) -> bytearray:
    return bytearray(b"x" * 100) + content


def changes_a_byte(content: bytearray) -> bytearray:
    position = content.index(b"bundle/big") + 20
    content[position] ^= 0xFF
    return content


@pytest.mark.parametrize(
    "damage",
    [
        says_less,
        hides_an_entry,
        hides_the_last_entry,
        names_it_differently,
        has_something_in_front,
        changes_a_byte,
    ],
)
def test_what_is_packed_must_be_what_is_listed(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "a.mar"
    content = packed(path, {"bundle/big": bytes(range(250)) * 20, "bundle/other": b"1" * 10})
    path.write_bytes(damage(content))
    reasons = "isn't what is listed|is damaged, or larger than it says|while decompressing"
    with pytest.raises(InputError, match=reasons):
        read_archive(path)


def test_a_link_and_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    link = zipfile.ZipInfo("bundle/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="'bundle/link' is a link, a device or encrypted"):
        unpack(path, tmp_path / "folder")
    with zipfile.ZipFile(path, "w") as files:
        files.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            files.writestr("a", "2")
    with pytest.raises(InputError, match="two files of one name"):
        unpack(path, tmp_path / "folder")


class Pipe(io.BytesIO):
    """Can't be gone back in, as the output of Java's `jar`: sizes come behind their entries."""

    def tell(self) -> int:
        raise OSError("a pipe has no place")


def test_an_archive_whose_sizes_come_behind_its_entries_is_read(
    archive_path: Path, tmp_path: Path
) -> None:
    path, pipe = tmp_path / "a.mar", Pipe()
    with zipfile.ZipFile(archive_path) as old, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    path.write_bytes(pipe.getvalue())
    found = read_archive(path)
    assert (found.version, found.golden) == ("1.0", read_archive(archive_path).golden)


def test_nothing_may_lie_between_entries_whose_sizes_come_behind(tmp_path: Path) -> None:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as new:
        for name in ("a", "b"):
            new.writestr(name, b"1" * 10)
    content = bytearray(pipe.getvalue())
    second = content.index(b"PK\x03\x04", 4)
    content[second:second] = b"hidden"
    start = content.index(b"PK\x01\x02")
    listed, ended = content.index(b"PK\x01\x02", start + 4), content.index(b"PK\x05\x06")
    struct.pack_into("<I", content, listed + 42, second + 6)
    struct.pack_into("<I", content, ended + 16, start)
    path = tmp_path / "a.mar"
    path.write_bytes(content)
    with pytest.raises(InputError, match="what is packed isn't what is listed, behind 'a'"):
        read_archive(path)


def test_probes_write_nothing(
    archive_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    assert read_golden_photos(archive_path) == read_archive(archive_path).golden
