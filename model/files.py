"""Our own files: read with one error for every damage, written whole or not at all; needs no PyTorch."""

import errno
import glob
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from model.errors import FlyobjError, InputError

# What a disk that is full, over its quota or read-only says, and one where we may not write.
CANT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_WRONG_CONTENT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
Readable = Path | zipfile.Path  # a file or folder, which may be in an archive


def read_text(path: Readable, remedy: str) -> str:
    """Read a file of UTF-8 text, with or without a byte order mark.

    Raises:
        InputError: it is missing, a folder, unreadable or not UTF-8; the message ends with `remedy`.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        why = error.strerror or "no such file"
        raise InputError(f"{str(path)!r} can't be read ({why}); {remedy}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} can't be read as UTF-8 text ({error}); {remedy}") from error


def read_json(path: Readable, kind: type = dict, remedy: str = "put it back or make it again") -> Any:
    """Read a JSON document whose top is a `kind`, an object by default.

    Raises:
        InputError: the file is missing, a folder, unreadable, empty, not UTF-8, not JSON or another
            kind of document; the message ends with `remedy`.
    """
    try:
        document = json.loads(read_text(path, remedy))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} can't be read as JSON ({error}); {remedy}") from error
    if not isinstance(document, kind):
        wanted = "object" if kind is dict else kind.__name__
        found = "object" if isinstance(document, dict) else type(document).__name__
        raise InputError(f"{str(path)!r} must hold a JSON {wanted}, it holds: {found}; {remedy}")
    return document


@contextmanager
def reading(path: Readable, remedy: str) -> Iterator[None]:
    """Turn whatever a file of ours that can't be read, or holds something else, leads the block to
    into one error.

    Raises:
        InputError: it names `path`, says what is wrong, and ends with `remedy`.
    """
    try:
        yield
    except InputError as error:
        if path.name in str(error):
            raise
        raise InputError(f"{str(path)!r}: {error}; {remedy}") from error
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be read ({error.strerror}); {remedy}") from error
    except _WRONG_CONTENT as error:
        why = first_line(error)
        raise InputError(f"{str(path)!r} isn't as it was written ({why}); {remedy}") from error


def first_line(error: BaseException) -> str:
    """Say an error in a line; some have no words but their name."""
    lines = str(error).strip().splitlines() or [""]
    words = lines[0][:200]
    return f"{type(error).__name__}: {words}" if isinstance(error, LookupError) or not words else words


def write_json(document: Any, path: Path) -> None:
    """Write a JSON document as `write_text` does, so names that aren't UTF-8 come back as they were."""
    write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 as `atomic_file` does; bytes of file names that aren't UTF-8 are escaped."""
    write_bytes(text.encode("utf-8", "backslashreplace"), path)


def write_bytes(content: bytes | memoryview, path: Path) -> None:
    """Write `content` as `atomic_file` does."""
    with atomic_file(path) as partial:
        partial.write_bytes(content)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, or a place that mayn't be written, into one error that names `path`.

    Raises:
        FlyobjError: the block failed so; other errors are the block's own.
    """
    try:
        yield
    except OSError as error:
        if not is_about_writing(error):
            raise
        raise cant_write(error, path) from error


def is_about_writing(error: OSError) -> bool:
    """Whether an error says that there is no room, or that we may not write."""
    nowhere = "temporary directory" in str(error)  # of tempfile, which has tried to write there
    return error.errno in CANT_WRITE or nowhere or isinstance(error, shutil.Error)


def cant_write(error: OSError, path: Path | None = None) -> FlyobjError:
    """Say that the system lets us use neither `path` nor the file that it names, and what to do."""
    if "temporary directory" in str(error):
        return FlyobjError(f"{error.strerror}; make room there, or set TMPDIR to another place")
    name, why = error.filename, error.strerror
    if isinstance(error, shutil.Error):  # of a folder that is copied: source, target and reason of each
        _, name, why = error.args[0][0]
        why = why.partition("] ")[2].partition(":")[0] or why  # "[Errno 28] No space left ...: 'name'"
    what = repr(str(path or name)) if path or name else "a file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return FlyobjError(f"{what} can't be used ({why}); see who may use it, or give another place")
    return FlyobjError(f"{what} can't be written ({why}); make room, or give another place")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path to write; it is synced and becomes `path` if the block ends well, else vanishes.

    Raises:
        FlyobjError: it can't be written, because the disk is full, say; `path` is as it was.
    """
    partial = path.with_name(f".{path.name[:100]}.{os.getpid()}.partial")
    try:
        yield partial
        _sync(partial)  # else a power cut could leave a name without its content
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        why = error.strerror or error
        raise FlyobjError(f"{str(path)!r} can't be written ({why}); nothing was changed") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Remove what `atomic_file` left of `path` when it was killed; nobody may be writing it now."""
    for left in path.parent.glob(f".{glob.escape(path.name[:100])}.*.partial"):
        with suppress(OSError):
            left.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder to fill; it takes the place of `path` if the block ends well, else vanishes."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    path = path.parent.resolve() / path.name
    with (
        writing(path),
        tempfile.TemporaryDirectory(prefix=f".{path.name[:50]}.", dir=path.parent) as room,
    ):
        new, old = Path(room, "new"), Path(room, "old")
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def exact_keys(
    document: Any,
    keys: Sequence[str],
    where: str,
    optional: Sequence[str] = (),
    remedy: str = "train or package it again",
) -> dict[str, Any]:
    """Return `document` if it is an object with exactly these keys; `optional` ones may be missing."""
    if not isinstance(document, dict):
        raise InputError(f"{where} must be a JSON object, it is {type(document).__name__}")
    missing = sorted(set(keys) - set(document) - set(optional))
    unknown = sorted(set(document) - set(keys))
    if missing or unknown:
        raise InputError(
            f"{where}: missing keys {missing}, unknown keys {unknown}; exactly {sorted(keys)} are "
            f"allowed; {remedy}"
        )
    return document
