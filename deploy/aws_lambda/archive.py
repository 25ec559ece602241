"""Where the function's archive comes from: S3, or a folder of its image.

`flyobj archive` made it and `flyobj push` put it into S3, with the hash that is checked here. In an
image it is unpacked already (see Dockerfile), which saves that time at each cold start.
"""

import hashlib
import io
import tempfile
import zipfile
from pathlib import Path

from model.errors import FlyobjError, InputError

VARIABLE = "FLYOBJ_ARCHIVE"
_SCHEME = "s3://"


def open_archive(place: str) -> Path:
    """Find the archive, and unpack it if it is in S3.

    Args:
        place: a folder that holds an unpacked archive, or `s3://BUCKET/KEY.mar`.

    Returns:
        The folder of the unpacked archive.

    Raises:
        InputError: there is no archive.
        FlyobjError: it isn't what was put into S3.
    """
    folder = _download(place) if place.startswith(_SCHEME) else Path(place)
    if not place or not (folder / "bundle").is_dir():
        raise InputError(
            f"{VARIABLE} is {place!r}; give the folder of an unpacked archive of `flyobj archive`, or "
            "s3://BUCKET/KEY.mar"
        )
    return folder


def _download(place: str) -> Path:
    """Get the archive and unpack it; boto3's own errors say what is wrong, in the function's log."""
    import boto3  # takes long, and an archive in the image does without it

    bucket, _, key = place.removeprefix(_SCHEME).partition("/")
    answer = boto3.client("s3").get_object(Bucket=bucket, Key=key)
    content: bytes = answer["Body"].read()
    wanted, found = answer["Metadata"].get("sha256"), hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise FlyobjError(
            f"{place!r} has sha256 {found}, its metadata say {wanted}; put it there with `flyobj push`"
        )
    folder = Path(tempfile.mkdtemp(prefix="archive-"))
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        files.extractall(folder)
    return folder
