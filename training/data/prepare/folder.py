"""The prepared folder: written beside its place, moved there when whole, replaced only if it is ours."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISLNK

from model.errors import InputError
from model.files import atomic_folder
from report.progress import track
from training.data import manifest
from training.data.manifest import Row, read_manifest, target

SUMMARY, REPORT, SHARD = "summary.json", "report.html", "shard.json"
OWN = {manifest.NAME, SUMMARY, REPORT, SHARD}
_SYMBOLIC = object()


@contextmanager
def new_folder(out: Path, force: bool) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `out` if the block ends well and vanishes otherwise.

    Raises:
        InputError: `out` exists, and isn't empty, and either `force` is false or it isn't ours.
        FlyobjError: it can't be written, because the disk is full, say.
    """
    check_out(out, force)
    with atomic_folder(out) as new:
        yield new
        check_out(out, force)  # it may have come into being meanwhile


def check_out(out: Path, force: bool) -> None:
    """Refuse to write over anything but, with `force`, what `prepare` itself has made."""
    if not os.path.lexists(out) or (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        return
    if not force:
        raise InputError(
            f"{str(out)!r} exists already; name another folder, or give --force to replace one "
            "that `flyobj data prepare` made"
        )
    if out.is_symlink() or not (out / manifest.NAME).is_file():
        raise InputError(
            f"{str(out)!r} wasn't made by `flyobj data prepare` (it has no {manifest.NAME}), so --force "
            "doesn't replace it; name another folder or remove this one yourself"
        )
    known = {target(row) for row in read_manifest(out / manifest.NAME) if row.kept}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if name not in known and name not in OWN and (path.is_symlink() or not path.is_dir()):
            raise InputError(
                f"{str(path)!r} wasn't made by `flyobj data prepare`, so --force doesn't replace its "
                "folder; move the file away or name another folder"
            )


def place(rows: Iterable[Row], source: Path, folder: Path, copy: bool) -> int:
    """Copy the kept files into `folder` as an ImageFolder, or link them; return the symbolic links.

    Hard links stay good wherever the source or the folder is moved on their file system. A symbolic link
    takes the place of one where there can be none: from another file system, or to someone else's file.

    Raises:
        InputError: two files would become one.
    """
    kept = {target(row): row for row in rows if row.kept}
    _require_own_places(rows, kept)
    for parent in {new.rpartition("/")[0] for new in kept}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    put = shutil.copyfile if copy else _link
    start, end = f"{source.absolute()}/", f"{folder}/"  # a million Paths take a minute
    placed = track(kept.items(), "copying" if copy else "linking", len(kept))
    return sum(put(start + row.path, end + new) is _SYMBOLIC for new, row in placed)


def _link(photo: str, new: str) -> object:
    try:
        os.link(os.path.realpath(photo) if S_ISLNK(os.lstat(photo).st_mode) else photo, new)
    except OSError:
        Path(new).symlink_to(photo)
        return _SYMBOLIC
    return None


def _require_own_places(rows: Iterable[Row], kept: dict[str, Row]) -> None:
    for row in rows:
        if row.kept and (other := kept[target(row)]) is not row:
            raise InputError(
                f"{row.path!r} and {other.path!r} would both become {target(row)!r}, as their class "
                "folders are two spellings of one name; rename one of the files"
            )
