"""Which photos belong together."""

from pathlib import Path

import pytest

from model.errors import InputError
from training.data.manifest import Row, write_manifest
from training.data.photo_groups import number_groups
from training.data.photos import Photo


def photos(data: Path, *names: str) -> list[Photo]:
    return [Photo(data / "test" / "bird" / name, 0) for name in names]


def test_by_what_the_regex_finds_in_the_name(tmp_path: Path) -> None:
    own = photos(tmp_path, "a_f1.jpg", "b_f1.jpg", "a_f2.jpg", "other.jpg", "another.jpg")
    numbers, how = number_groups(own, tmp_path, r"^(.+)_f\d+")
    assert numbers.tolist() == [0, 1, 0, 2, 3]
    assert how == r"4 groups by ^(.+)_f\d+"


def test_a_group_is_no_photos_name(tmp_path: Path) -> None:
    own = photos(tmp_path, "x1.jpg", "x2.jpg", "yy")
    assert number_groups(own, tmp_path, "^x|y")[0].tolist() == [0, 0, 1]


def test_by_the_manifest_of_prepared_data(tmp_path: Path) -> None:
    rows = [
        Row("bird/1.jpg", "bird", "test", "clip"),
        Row("bird/2.jpg", "bird", "test", "clip"),
        Row("bird/3.jpg", "bird", "test"),
        Row("test/bird/4.jpg", "bird", "test", "other"),
    ]
    write_manifest(rows, tmp_path / "manifest.csv")
    own = photos(tmp_path, "1.jpg", "2.jpg", "3.jpg", "4.jpg", "new.jpg")
    numbers, how = number_groups(own, tmp_path, None)
    assert numbers.tolist() == [0, 0, 1, 2, 3]
    assert how == "4 groups of manifest.csv"


def test_where_nothing_is_known_each_photo_is_one(tmp_path: Path) -> None:
    numbers, how = number_groups(photos(tmp_path, "1.jpg", "2.jpg"), tmp_path, None)
    assert (numbers.tolist(), how) == ([0, 1], "2 photos, as no groups are known")


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("(", "isn't a regular expression"),
        ("clip", "matches none of 1 file names, such as '1.jpg'"),
    ],
)
def test_a_regex_that_is_of_no_use(tmp_path: Path, regex: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        number_groups(photos(tmp_path, "1.jpg"), tmp_path, regex)
