"""Photos linked or copied into folders by class: `DIR/CLASS/` and the path below their own folder.

The originals stay as they are, and nothing is overwritten: where another file has the name, a number is
added. The hidden file `MARK` says whose answers the folder shows, so that two models' don't mix.
"""

import filecmp
import os
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from model.errors import InputError
from model.files import read_json, write_json
from serving.batch.photos import PhotoSource

MARK = ".flyobj-sorted.json"


class Sorter:
    """A folder that photos are sorted into."""

    def __init__(
        self, folder: Path, sources: Sequence[Path], classes: Sequence[str], model: str, copy: bool
    ) -> None:
        """Make or continue the folder.

        Raises:
            InputError: it holds something else, lies among the photos, or a class can't name a folder.
        """
        self._folder, self._copy = folder, copy
        own = folder.resolve()
        for source in map(Path.resolve, sources):
            if own == source or source in own.parents or own in source.parents:
                raise InputError(
                    f"{str(folder)!r} and {str(source)!r} lie in one another; name a folder elsewhere"
                )
        if bad := [name for name in classes if "/" in name or "\0" in name or name.startswith(".")]:
            raise InputError(f"classes {bad} can't name folders, so photos can't be sorted into them")
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{str(folder)!r} is a file; name a folder")
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
        mark = folder / MARK
        if used and (not mark.is_file() or read_json(mark).get("model") != model):
            raise InputError(
                f"{str(folder)!r} isn't empty, and what is in it wasn't sorted by this model; name "
                "another folder"
            )
        write_json({"model": model}, mark)

    def place(self, photo: PhotoSource, predicted: str) -> None:
        """Link or copy a photo to where its class is; one that is there already stays.

        A copy takes the place of a link that was made before: who asks for copies may delete originals.
        """
        if photo.content is not None:  # from a pipe: there is no file
            return
        source, wanted = Path(photo.name).absolute(), self._folder / predicted / photo.below
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            target = wanted if number == 1 else _numbered(wanted, number)
            is_ours = target.is_symlink() and target.readlink() == source
            if not os.path.lexists(target) or (is_ours and self._copy):
                self._put(source, target)
                return
            is_file = target.is_file() and not target.is_symlink()
            if is_ours or (is_file and filecmp.cmp(source, target, shallow=False)):
                return

    def _put(self, source: Path, target: Path) -> None:
        if not self._copy:
            target.symlink_to(source)
            return
        partial = target.with_name(f".{target.name[:100]}.partial")
        shutil.copyfile(source, partial)  # so that a kill leaves no half photo under its name
        partial.rename(target)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")
