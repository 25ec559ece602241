"""The photos of a folder, and those that are drawn."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from loadtest import photos
from loadtest.photos import SIZES, photos_to_send
from model.errors import InputError


def test_drawn_photos_have_the_sizes_of_the_table() -> None:
    drawn = photos_to_send(None)
    sizes = Counter(Image.open(io.BytesIO(file)).size for file in drawn.files)
    assert sizes == {(width, height): count for width, height, count in SIZES}
    assert len(set(drawn.files)) == len(drawn.files)
    assert drawn.classes == set()  # nobody knows what is on them


def test_classes_are_the_folders(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test={"a": 2, "b": 1}) / "test"
    read = photos_to_send(folder)
    assert len(read.files) == 3
    assert read.classes == {"a", "b"}
    assert photos_to_send(folder / "a").classes == set()
    assert photos_to_send(folder.parent).classes == {"a", "b"}  # not the split's name
    assert read.labelled
    (folder / "a" / "day 1").mkdir()
    (folder / "a" / "0.jpg").rename(folder / "a" / "day 1" / "0.jpg")
    assert photos_to_send(folder).classes == {"a", "b"}
    assert not photos_to_send(folder / "a").labelled  # day 1 is no class


def test_a_large_folder_is_sampled_evenly(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photos, "MAX_PHOTOS", 2)
    read = photos_to_send(photo_folder(test={"a": 3, "b": 1}) / "test")
    assert len(read.files) == 2
    assert read.classes == {"a", "b"}


def test_no_photos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none here")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(InputError, match=r"no photos under .* \(1 other files"):
        photos_to_send(tmp_path)
