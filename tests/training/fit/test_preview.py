"""The picture of augmented samples."""

from pathlib import Path

import pytest
from PIL import Image

from model.errors import InputError
from training.fit.preview import PER_CLASS, SAMPLES, preview

pytestmark = pytest.mark.slow


def test_a_row_for_each_photo(dataset: Path, tmp_path: Path) -> None:
    assert preview(dataset, tmp_path / "p.png", 64, 0) == 4 * PER_CLASS
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 100 * (SAMPLES + 1)
        assert picture.height > 100 * 4 * PER_CLASS


def test_nothing_is_overwritten(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        preview(dataset, path, 64, 0)
    assert path.read_text() == "mine"


def test_it_shows_the_augmentation_that_is_chosen(dataset: Path, tmp_path: Path) -> None:
    for augment in ("mission", "mild", "none"):
        preview(dataset, tmp_path / f"{augment}.png", 64, 0, augment)
    pictures = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("mission", "mild", "none")}
    assert len(set(pictures.values())) == 3
    with pytest.raises(InputError, match="augment 'wild' must be one of mission, mild, none"):
        preview(dataset, tmp_path / "wild.png", 64, 0, "wild")


@pytest.mark.parametrize("name", ["p.txt", "no/p.png"])
def test_a_picture_needs_a_name_and_a_folder(dataset: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"must be a \.png file in a folder that exists"):
        preview(dataset, tmp_path / name, 64, 0)
