"""What is where in a `.mar`, how one is named, and opening one within limits."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from model.errors import FlyobjError, InputError
from model.files import writing
from serving.names import MODEL, VERSION

MANIFEST, CONFIG = "MAR-INF/MANIFEST.json", "model-config.yaml"
BUNDLE, GOLDEN = "bundle", "bundle/golden"
# Ours have some 100 files of 20 MB, with OpenVINO's graph; what is far from that is no archive.
MAX_FILES, MAX_BYTES = 10_000, 2 << 30
MAX_RATIO, ALWAYS_BYTES = 50, 64 << 20  # unpacked over packed; weights don't shrink
MAX_NAME = 64  # characters of a model's name or a version; both are in the names of files
_CHUNK = 1 << 20
# https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, 4.3.7 and 4.3.9
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8
_DESCRIPTOR_SIZES = (12, 16, 20, 24)


def file_name(model: str, version: str) -> str:
    """Name the archive of a version; raises `InputError` if no model or version can be called so."""
    check_model(model)
    check_version(version)
    return f"{model}-{version}.mar"


def check_model(name: str) -> None:
    """Raise `InputError` if no model can be called so."""
    if not (isinstance(name, str) and MODEL.fullmatch(name) and len(name) <= MAX_NAME):
        raise InputError(
            f"model name {name!r} must be lower-case letters, digits and underscores and begin with a "
            f"letter ({MODEL.pattern}), at most {MAX_NAME}, such as flying_objects"
        )


def check_version(version: str) -> None:
    """Raise `InputError` if no version can be called so."""
    if not (isinstance(version, str) and VERSION.fullmatch(version) and len(version) <= MAX_NAME):
        raise InputError(
            f"version {version!r} must be numbers and dots, such as 1.0 or 2.1.3, at most {MAX_NAME} "
            "characters"
        )


@contextmanager
def open_zip(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose list of entries is within the limits; nothing is unpacked.

    Raises:
        InputError: it is damaged, too large for one of ours, would write outside its folder, or the
            block raises, whatever a damaged file leads it to.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            _check_entries(files.infolist(), archive.stat().st_size)
            yield files
    except Exception as error:
        if isinstance(error, FlyobjError) and not isinstance(error, InputError):
            raise
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{str(archive)!r} isn't a valid archive ({why}); `flyobj archive` makes one"
        ) from error


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive into `folder`, which is returned; raises as `open_zip` and `writing` do."""
    with open_zip(archive) as files, writing(folder):
        files.extractall(folder)  # which holds each entry to the size that it declares
    return folder


def require_as_listed(files: zipfile.ZipFile) -> None:
    """Raise `ValueError` unless whoever reads the file from its start finds what its list says.

    TorchServe does that: it never looks at the list at the end, and inflates each entry as far as its
    stream goes, whatever size was declared. So there may be nothing between the entries, and each is
    inflated here, in chunks, up to its size and no further.
    """
    file, position = files.fp, 0
    assert file is not None
    for entry in sorted(files.infolist(), key=lambda entry: entry.header_offset):
        gap = entry.header_offset - position
        file.seek(entry.header_offset)
        header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        raw_name = file.read(header[-2])
        listed = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437")
        same = (raw_name, *header[2:4]) == (listed, entry.flag_bits, entry.compress_type)
        if gap or not same:
            raise ValueError(f"what is packed isn't what is listed, from {entry.filename!r} on")
        file.seek(header[-1], 1)
        _require_size(file, entry)
        position = file.tell()
        if entry.flag_bits & _DESCRIPTOR:
            position = _end_of_descriptor(files, entry, position)
    if position != files.start_dir:
        raise ValueError("what is packed isn't what is listed, at its end")


def _check_entries(entries: list[zipfile.ZipInfo], packed: int) -> None:
    size = sum(entry.file_size for entry in entries)
    most = min(MAX_BYTES, max(ALWAYS_BYTES, MAX_RATIO * packed))
    if len(entries) > MAX_FILES or size > most:
        raise ValueError(
            f"it holds {len(entries)} files of {size} bytes; {MAX_FILES} of {most} are allowed"
        )
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\0" in entry.orig_filename:
            raise ValueError(f"{entry.orig_filename!r} would be written outside its folder")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & _ENCRYPTED:
            raise ValueError(f"{entry.filename!r} is a link, a device or encrypted")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError("it holds two files of one name")


def _require_size(file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    """Read an entry's packed bytes and compare size and checksum with what it declares."""
    plain = entry.compress_type == zipfile.ZIP_STORED
    inflate = None if plain else zlib.decompressobj(-zlib.MAX_WBITS)
    left, size, checksum = entry.compress_size, 0, 0
    while left and size <= entry.file_size:
        packed = file.read(min(left, _CHUNK))
        if not packed:
            break
        left -= len(packed)
        content = inflate.decompress(packed, _CHUNK) if inflate else packed
        while content and size <= entry.file_size:
            size, checksum = size + len(content), zlib.crc32(content, checksum)
            content = inflate.decompress(inflate.unconsumed_tail, _CHUNK) if inflate else b""
    whole = inflate is None or (inflate.eof and not inflate.unused_data)
    if (left, size, checksum, whole) != (0, entry.file_size, entry.CRC, True):
        raise ValueError(f"{entry.filename!r} is damaged, or larger than it says")


def _end_of_descriptor(files: zipfile.ZipFile, entry: zipfile.ZipInfo, position: int) -> int:
    """Say where the next entry begins after one whose size is written behind it."""
    later = [e.header_offset for e in files.infolist() if e.header_offset > entry.header_offset]
    end = min(later, default=files.start_dir)
    if end - position not in _DESCRIPTOR_SIZES:
        raise ValueError(f"what is packed isn't what is listed, behind {entry.filename!r}")
    return end
