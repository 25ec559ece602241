"""Archives in S3, or in any store that speaks its protocol: `push` puts one there, `fetch` gets one.

An archive's sha256 travels with it twice: as S3's own checksum, which the store compares with what
arrives, and as metadata, which `fetch` compares with what it got.
"""

import base64
import fcntl
import glob
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from model.errors import FlyobjError, InputError
from report.progress import progress
from serving.archive.build import read_archive, sha256
from serving.archive.s3_client import CHANGED, MISSING, Place, code_of, connect

_SHA256 = "sha256"  # the metadata's name
_TRIES = 5  # of a download that breaks off; each resumes where the last one ended
_CHUNK = 2**20


@dataclass(frozen=True)
class PushResult:
    """Where an archive is now; `new` is False if it was there already."""

    url: str
    sha256: str
    new: bool


def push(path: Path, url: str, *, force: bool = False) -> PushResult:
    """Put an archive into S3.

    Args:
        path: of the archive.
        url: `s3://BUCKET/PREFIX/`, to which the archive's name is added, or `s3://BUCKET/KEY.mar`.
        force: write over another archive.

    Raises:
        InputError: it is no archive, another one is there, or S3 doesn't let us.
        FlyobjError: S3 can't be reached, or didn't get what was sent.
    """
    archive, place = read_archive(path), Place.parse(url)
    if not place.name:
        place = Place(place.bucket, place.key + path.name)
    place.require_archive()
    # Only if nothing is there: S3 decides that, so two who push at once can't both win.
    condition = {} if force else {"IfNoneMatch": "*"}
    uploading, new = progress(f"uploading {path.name}"), True
    with path.open("rb") as file, connect(place, "write") as client, uploading:
        try:
            client.put_object(
                Bucket=place.bucket,
                Key=place.key,
                Body=file,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=base64.b64encode(bytes.fromhex(archive.sha256)).decode(),
                Metadata={_SHA256: archive.sha256, "version": archive.version},
                **condition,
            )
        except client.exceptions.ClientError as error:
            if code_of(error) not in CHANGED:
                raise
            new = False
            if _look(client, place)["Metadata"][_SHA256] != archive.sha256:
                raise InputError(
                    f"{str(place)!r} is already another archive; package yours under another "
                    f"--version, or overwrite it with --force"
                ) from error
    return PushResult(str(place), archive.sha256, new)


def fetch(url: str, store: Path) -> Path:
    """Get an archive into the model store `store`; one that is there already isn't asked for again.

    It comes under a hidden name that ends in `.part`. Where a download was cut off, the next one
    resumes; the file gets its own name when it is whole and its hash is right.

    Args:
        url: `s3://BUCKET/KEY.mar`.
        store: folder; is made.

    Raises:
        InputError: there is no such archive, S3 doesn't let us, or the store has another of its name.
        FlyobjError: S3 can't be reached, the object changed during the download, or the disk is full.
    """
    place = Place.parse(url).require_archive()
    target = store / place.name
    try:
        with connect(place, "read") as client:
            head = _look(client, place)
            wanted = head["Metadata"][_SHA256]
            if target.exists():
                return _require_same(target, wanted)
            store.mkdir(parents=True, exist_ok=True)
            # The hash is part of the name: what is left of another archive isn't resumed.
            part = store / f".{place.name}.{wanted[:16]}.part"
            with _open_alone(part) as file:
                _download(client, place, head, file)
                _rename_into_place(part, target, place, wanted)
    except OSError as error:
        raise FlyobjError(
            f"{str(target)!r} can't be written ({error.strerror}); make room and run it again, it "
            "resumes where it ended"
        ) from error
    return target


def _download(client: Any, place: Place, head: Any, file: IO[bytes]) -> None:
    """Append to `file` what it lacks of the object, however often the connection breaks."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    size, tries = head["ContentLength"], _TRIES
    with progress(f"downloading {place.name}", size, "bytes") as advance:
        advance(file.tell())
        while file.tell() < size and tries:
            tries -= 1
            rest = {"Range": f"bytes={file.tell()}-", "IfMatch": head["ETag"]}
            body = client.get_object(Bucket=place.bucket, Key=place.key, **rest)["Body"]
            with closing(body), suppress(HTTPClientError, IncompleteReadError):  # resumed from here
                for chunk in body.iter_chunks(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
    file.flush()
    if file.tell() < size:
        raise FlyobjError(
            f"the download of {str(place)!r} broke off {_TRIES} times, {file.tell()} of {size} bytes "
            "are here; run it again, it resumes there"
        )


def _rename_into_place(part: Path, target: Path, place: Place, wanted: str) -> None:
    """Give a whole download its own name."""
    if (found := sha256(part)) != wanted:
        part.unlink()
        raise FlyobjError(
            f"{str(place)!r} arrived with sha256 {found}, its metadata say {wanted}; run it again, "
            "and if that doesn't help, `flyobj push --force` it again"
        )
    try:
        os.link(part, target)  # fails where a rename would overwrite
    except FileExistsError:
        _require_same(target, wanted)
    leftovers = f".{glob.escape(target.name)}.*.part"  # of this archive, and of others of its name
    for left in target.parent.glob(leftovers):
        left.unlink(missing_ok=True)


def _require_same(target: Path, wanted: str) -> Path:
    if sha256(target) != wanted:
        raise InputError(f"{str(target)!r} exists already and is another archive; remove or rename it")
    return target


@contextmanager
def _open_alone(part: Path) -> Iterator[IO[bytes]]:
    """Open a partial download to append to it, while nobody else does."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FlyobjError(
                f"{part.name!r} is being downloaded by another process; wait for it"
            ) from error
        yield file


def _look(client: Any, place: Place) -> Any:
    """Ask for an archive's head, with its hash; a missing bucket is told apart from a missing key."""
    try:
        head = client.head_object(Bucket=place.bucket, Key=place.key)
    except client.exceptions.ClientError as error:
        if code_of(error) not in MISSING:
            raise
        client.head_bucket(Bucket=place.bucket)
        raise InputError(
            f"{str(place)!r} doesn't exist, though its bucket does; see `flyobj push --help`"
        ) from error
    if not re.fullmatch("[0-9a-f]{64}", head["Metadata"].get(_SHA256, "")):
        raise InputError(
            f"{str(place)!r} has no {_SHA256!r} among its metadata, which `flyobj push` would have "
            "written; push it (again, with --force)"
        )
    return head
