"""Reading labelled photos: what is wrong is named, what is read is exactly what is there."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import InputError
from training.data.photo_groups import groups_of
from training.data.photos import Photo, hold_out, read_split
from training.data.prepare.pipeline import prepare
from training.data.prepare.settings import PrepareSettings

MakeData = Callable[..., Path]


def test_photos_labels_and_classes(photo_folder: MakeData) -> None:
    data = photo_folder(train={"b": 2, "a": 3})
    nested = data / "train" / "a" / "day 1"
    nested.mkdir()
    (data / "train" / "a" / "2.jpg").rename(nested / "2.JPG")
    (data / "train" / "a" / ".hidden").write_text("no photo")
    (data / "train" / ".git").mkdir()
    (data / "train" / "readme").touch()
    split = read_split(data, "train")
    assert split.classes == ("a", "b")
    assert [(str(p.path.relative_to(data / "train")), p.label) for p in split.photos] == [
        ("a/0.jpg", 0),
        ("a/1.jpg", 0),
        ("a/day 1/2.JPG", 0),
        ("b/0.jpg", 1),
        ("b/1.jpg", 1),
    ]
    assert [(str(s.path.relative_to(data / "train")), s.reason) for s in split.skipped] == [
        ("readme", "not in a class folder"),
        (".git", "hidden"),
        ("a/.hidden", "hidden"),
    ]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere': no such folder; give"):
        read_split(tmp_path / "nowhere", "train")
    with pytest.raises(InputError, match=r"train': no such folder; .*CLASS/photo\.jpg"):
        read_split(tmp_path, "train")
    (tmp_path / "pile one" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match=r"did you mean 'pile one'\?"):
        read_split(tmp_path / "pile ome", "train")
    (tmp_path / "pile one" / "b").mkdir()
    with pytest.raises(InputError) as error:
        read_split(tmp_path / "pile one", "train")
    assert f"`flyobj data prepare '{tmp_path}/pile one' --out 'data/pile one'`" in str(error.value)
    (tmp_path / "pile one" / "train" / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="has train photos, no test ones: add"):
        read_split(tmp_path / "pile one", "test")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"has 0 class folder\(s\) \[\], at least 2"):
        read_split(tmp_path, "train")


def test_one_class(photo_folder: MakeData) -> None:
    data = photo_folder(train={"birds": 3})
    with pytest.raises(InputError, match=r"has 1 class folder\(s\) \['birds'\], at least 2"):
        read_split(data, "train")


def test_a_class_without_a_readable_photo_is_named(photo_folder: MakeData) -> None:
    data = photo_folder(train={"a": 1, "b": 1})
    (data / "train" / "b" / "0.jpg").write_text("words")
    with pytest.raises(
        InputError, match=r"train/b' has no readable photo \(1 file.*'0.jpg': .*no photo"
    ):
        read_split(data, "train")


def test_a_class_without_files_is_named(photo_folder: MakeData) -> None:
    data = photo_folder(train={"a": 1, "b": 0})
    with pytest.raises(InputError, match="train/b' has no readable photo"):
        read_split(data, "train")


def test_what_cannot_be_read_is_skipped_with_the_reason(
    photo_folder: MakeData, capsys: pytest.CaptureFixture[str]
) -> None:
    data = photo_folder(train={"a": 4, "b": 1})
    text, half = data / "train" / "a" / "0.jpg", data / "train" / "a" / "1.jpg"
    text.write_text("words")
    other = data / "train" / "a" / "2.jpg"
    half.write_bytes(half.read_bytes()[:-300])
    other.write_bytes(other.read_bytes()[:-200])
    split = read_split(data, "train")
    assert [p.path.name for p in split.photos] == ["3.jpg", "0.jpg"]
    assert [s.path for s in split.skipped] == [text, half, other]
    line = capsys.readouterr().err
    assert "checking train: 3 of 5 left out: 2 not decodable, 1 not an image; " in line
    assert f"{str(text)!r} is not an image: the data starts with 'words'" in line
    assert "is no photo" in split.skipped[0].reason
    assert "can't be decoded to its end" in split.skipped[1].reason


def test_fingerprint_is_of_names_and_content(photo_folder: MakeData) -> None:
    data = photo_folder(train={"a": 2, "b": 2})
    seen = [read_split(data, "train").fingerprint]
    assert read_split(data, "train").fingerprint == seen[0]
    first, second = sorted((data / "train" / "a").iterdir())
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    seen.append(read_split(data, "train").fingerprint)  # another content
    first.write_bytes(kept)
    assert read_split(data, "train").fingerprint == seen[0]
    first.rename(first.with_name("renamed.jpg"))
    seen.append(read_split(data, "train").fingerprint)  # another name
    second.unlink()
    seen.append(read_split(data, "train").fingerprint)  # one photo less
    assert len(set(seen)) == 4


def labelled(**counts: int) -> list[Photo]:
    return [
        Photo(Path(name) / f"{i}.jpg", label)
        for label, (name, count) in enumerate(counts.items())
        for i in range(count)
    ]


def names(photos: list[Photo]) -> list[str]:
    return [str(photo.path) for photo in photos]


def test_hold_out_is_stratified_and_disjoint() -> None:
    photos = labelled(a=20, b=40, c=2)
    rest, held = hold_out(photos, names(photos), 0.15, seed=0)
    assert Counter(p.label for p in held) == {0: 3, 1: 6, 2: 1}
    assert sorted(map(str, rest + held)) == sorted(map(str, photos))
    assert not set(rest) & set(held)


def test_hold_out_is_decided_by_the_seed() -> None:
    photos = labelled(a=30, b=30)
    first = hold_out(photos, names(photos), 0.2, seed=1)
    assert hold_out(photos, names(photos), 0.2, seed=1) == first
    assert hold_out(photos, names(photos), 0.2, seed=2)[1] != first[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_hold_out_leaves_a_photo_of_each_class_on_both_sides(share: float) -> None:
    photos = labelled(a=2, b=3)
    rest, held = hold_out(photos, names(photos), share, seed=0)
    assert {p.label for p in rest} == {p.label for p in held} == {0, 1}


def test_hold_out_needs_two_photos_of_each_class() -> None:
    photos = labelled(a=5, b=1)
    with pytest.raises(InputError, match=r"class folder 'b' has 1 readable photo\(s\) in 1 group"):
        hold_out(photos, names(photos), 0.2, seed=0)


def test_groups_stay_together() -> None:
    photos = labelled(a=40, b=40)
    groups = [f"{p.label}/{int(p.path.stem) // 5}" for p in photos]  # eight of five photos a class
    rest, held = hold_out(photos, groups, 0.15, seed=0)
    group_of = dict(zip(photos, groups, strict=True))
    assert not {group_of[p] for p in rest} & {group_of[p] for p in held}
    assert Counter(p.label for p in held) == {0: 5, 1: 5}


def test_a_class_of_one_group_is_refused() -> None:
    photos = labelled(a=4, b=4)
    with pytest.raises(InputError, match=r"'b' has 4 readable photo\(s\) in 1 group\(s\)"):
        hold_out(photos, ["1", "1", "2", "2", "3", "3", "3", "3"], 0.2, seed=0)


def test_groups_by_expression(photo_folder: MakeData) -> None:
    data = photo_folder(train={"a": 3, "b": 1})
    photos = read_split(data, "train").photos
    assert groups_of(data, photos, None) == tuple(f"train/{n}.jpg" for n in ("a/0", "a/1", "a/2", "b/0"))
    assert groups_of(data, photos, "^([01])")[:3] == ("0", "1", "train/a/2.jpg")
    with pytest.raises(InputError, match=r"'clip' matches none of 4 file names, such as '0\.jpg'"):
        groups_of(data, photos, "clip")


def test_groups_that_prepare_has_noted(photo_folder: MakeData, tmp_path: Path) -> None:
    """Of clips, and of near duplicates that were kept."""
    pile = photo_folder(train={"a": 4, "b": 4})
    first = (pile / "train" / "a" / "0.jpg").read_bytes()
    (pile / "train" / "a" / "near.jpg").write_bytes(first + b"\0")  # decodes to the same
    settings = PrepareSettings(keep_near=True, prune=False, group_regex="^([12])", test_share=0.1)
    prepare(pile, tmp_path / "clean", settings, workers=1)
    photos = read_split(tmp_path / "clean", "train").photos
    found = groups_of(tmp_path / "clean", photos, None)
    groups = {p.path.name: g for p, g in zip(photos, found, strict=True) if p.path.parent.name == "a"}
    assert groups["1.jpg"] == "1"
    assert groups["0.jpg"] == groups["near.jpg"]
    assert len(set(groups.values())) == len(groups) - 1


def test_photos_that_prepare_has_listed_and_are_gone(
    photo_folder: MakeData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is missing is said and listed; a class without any is refused."""
    pile, out = photo_folder(pile={"a": 5, "b": 5}) / "pile", tmp_path / "clean"
    prepare(pile, out, PrepareSettings(), workers=1)
    for photo in (out / "train" / "b").iterdir():
        source = pile / "b" / photo.name
        photo.unlink()
        photo.symlink_to(source)  # as on another file system
    first, second, *_ = sorted((out / "train" / "a").iterdir())
    first.unlink()
    split = read_split(out, "train")
    assert [(s.path, s.reason) for s in split.skipped] == [
        (first, "listed in manifest.csv, but not there")
    ]
    assert f"1 listed in manifest.csv, but not there, such as {str(first)!r}" in capsys.readouterr().err
    pile.rename(tmp_path / "moved")
    with pytest.raises(
        InputError,
        match=r"class 'b' has lost all 4 photos .*'train/b/0\.jpg' \(to '.*prepare SOURCE --out",
    ):
        read_split(out, "train")
    (tmp_path / "moved").rename(pile)
    for photo in (out / "train" / "a").iterdir():
        photo.unlink()
    (out / "train" / "a").rmdir()
    (out / "train" / "c").mkdir()
    second = out / "train" / "c" / "1.jpg"
    second.write_bytes((pile / "a" / "0.jpg").read_bytes())
    with pytest.raises(InputError, match=r"class 'a' has lost all 4 photos that manifest\.csv lists"):
        read_split(out, "train")
