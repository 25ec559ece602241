"""Reading labelled photos: what is wrong is named, what is read is exactly what is there."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from model.errors import InputError
from model.preprocessing import Preprocessing
from training.photos import Photo, PhotoDataset, hold_out, read_split
from training.transforms import train_transform

MakeData = Callable[..., Path]


def test_photos_labels_and_classes(photo_folder: MakeData) -> None:
    data = photo_folder(train={"b": 2, "a": 3})
    nested = data / "train" / "a" / "day 1"
    nested.mkdir()
    (data / "train" / "a" / "2.jpg").rename(nested / "2.JPG")
    (data / "train" / "a" / ".hidden").write_text("no photo")
    (data / "train" / ".git").mkdir()
    split = read_split(data, "train")
    assert split.classes == ("a", "b")
    assert [(str(p.path.relative_to(data / "train")), p.label) for p in split.photos] == [
        ("a/0.jpg", 0),
        ("a/1.jpg", 0),
        ("a/day 1/2.JPG", 0),
        ("b/0.jpg", 1),
        ("b/1.jpg", 1),
    ]
    assert split.skipped == ()


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train': no such folder; .*CLASS/photo\.jpg"):
        read_split(tmp_path / "nowhere", "train")


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


def test_what_cannot_be_read_is_skipped_with_the_reason(photo_folder: MakeData) -> None:
    data = photo_folder(train={"a": 3, "b": 1})
    text, half = data / "train" / "a" / "0.jpg", data / "train" / "a" / "1.jpg"
    text.write_text("words")
    half.write_bytes(half.read_bytes()[:-300])
    split = read_split(data, "train")
    assert [p.path.name for p in split.photos] == ["2.jpg", "0.jpg"]
    assert [s.path for s in split.skipped] == [text, half]
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


def test_hold_out_is_stratified_and_disjoint() -> None:
    photos = labelled(a=20, b=40, c=2)
    rest, held = hold_out(photos, 0.15, seed=0)
    assert Counter(p.label for p in held) == {0: 3, 1: 6, 2: 1}
    assert sorted(map(str, rest + held)) == sorted(map(str, photos))
    assert not set(rest) & set(held)


def test_hold_out_is_decided_by_the_seed() -> None:
    photos = labelled(a=30, b=30)
    assert hold_out(photos, 0.2, seed=1) == hold_out(photos, 0.2, seed=1)
    assert hold_out(photos, 0.2, seed=1)[1] != hold_out(photos, 0.2, seed=2)[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_hold_out_leaves_a_photo_of_each_class_on_both_sides(share: float) -> None:
    rest, held = hold_out(labelled(a=2, b=3), share, seed=0)
    assert {p.label for p in rest} == {p.label for p in held} == {0, 1}


def test_hold_out_needs_two_photos_of_each_class() -> None:
    with pytest.raises(InputError, match="class folder 'b' has 1 readable photo, at least 2"):
        hold_out(labelled(a=5, b=1), 0.2, seed=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_every_epoch_is_augmented_anew(photo_folder: MakeData, workers: int) -> None:
    split = read_split(photo_folder(train={"a": 2, "b": 2}), "train")
    loader = DataLoader(
        PhotoDataset(split.photos, train_transform(Preprocessing(32))), 4, num_workers=workers
    )
    torch.manual_seed(0)
    (first, labels), (second, _) = (next(iter(loader)) for _ in range(2))
    assert labels.tolist() == [0, 0, 1, 1]
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(next(iter(loader))[0], first)
