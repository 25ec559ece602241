"""The prepared folder: written beside its place, moved there when whole, replaced only if it is ours."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from model.errors import FlyobjError, InputError
from model.files import atomic_folder
from model.photo_files import SPLITS
from report.progress import track
from training.data import manifest
from training.data.manifest import Row, read_manifest

SUMMARY, REPORT, SHARD = "summary.json", "report.html", "shard.json"
OWN = {manifest.NAME, SUMMARY, REPORT, SHARD}


@contextmanager
def new_folder(out: Path, force: bool) -> Iterator[Path]:
    """Yield a folder to fill; it becomes `out` if the block ends well and vanishes otherwise.

    Raises:
        InputError: `out` exists, and isn't empty, and either `force` is false or it isn't ours.
        FlyobjError: it can't be written, because the disk is full, say.
    """
    check_out(out, force)
    try:
        with atomic_folder(out) as new:
            yield new
            check_out(out, force)  # it may have come into being meanwhile
    except OSError as error:
        raise FlyobjError(
            f"{str(out)!r} can't be written ({error.strerror or error}); nothing of it was left behind: "
            "make room or name another place, and start again"
        ) from error


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


def target(row: Row) -> str:
    """Where a kept file lies in the prepared folder: SPLIT/CLASS/ and its path below the class."""
    parts = row.path.split("/")
    # Its class is the first or, after a split, the second folder. A class may be called "train".
    depth = 1 if parts[0] in SPLITS and len(parts) > 2 and parts[1] == row.class_name else 0
    return "/".join((row.split, *parts[depth:]))


def place(rows: Iterable[Row], source: Path, folder: Path, copy: bool) -> None:
    """Link or copy the kept files into `folder`, as an ImageFolder."""
    kept = [(row, target(row)) for row in rows if row.kept]
    for parent in {new.rpartition("/")[0] for _, new in kept}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    put = shutil.copyfile if copy else os.symlink
    start, end = f"{source.absolute()}/", f"{folder}/"  # a million Paths take a minute
    for row, new in track(kept, "copying" if copy else "linking"):
        put(start + row.path, end + new)
