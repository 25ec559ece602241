"""Which folders are splits and classes: one reading for every command."""

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from loadtest.photos import photos_to_send
from model.errors import InputError
from model.layout import classes_in, read_layout, require_distinct, split_named
from training.data.manifest import read_manifest
from training.data.photos import read_split
from training.data.prepare.pipeline import prepare
from training.data.prepare.settings import PrepareSettings

FOLDERS = {
    "plain": {"train": "train", "test": "test"},
    "Kaggle's": {"train": "archive/Dataset/Training", "test": "archive/Dataset/Testing"},
    "repeated": {"train": "train/train", "test": "test/test"},
    "Intel's": {"train": "seg_train/seg_train", "test": "seg_test/seg_test"},
    "cats and dogs": {"train": "training_set/training_set", "test": "test_set/test_set"},
    "capitals": {"train": "TRAIN", "validation": "Val", "test": "Test"},
    "Roboflow's": {"train": "train", "validation": "valid", "test": "test"},
}


@pytest.fixture
def fill(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[[Iterable[str], int], Path]:
    """Two classes of photos in each of the folders, below `tmp_path`/data."""
    seeds = iter(range(10_000))

    def make(folders: Iterable[str], count: int = 3) -> Path:
        for folder in folders:
            for name in ("a/day 1", "b"):
                (tmp_path / "data" / folder / name).mkdir(parents=True)
                for n in range(count):
                    (tmp_path / "data" / folder / name / f"{n}.jpg").write_bytes(jpeg(next(seeds)))
        return tmp_path / "data"

    return make


@pytest.mark.parametrize("folders", FOLDERS.values(), ids=FOLDERS)
def test_all_commands_read_a_layout_alike(
    fill: Callable[..., Path], folders: dict[str, str], tmp_path: Path
) -> None:
    data = fill(folders.values())
    (data / "readme.txt").write_text("words")
    (data / "__MACOSX" / "train").mkdir(parents=True)
    layout = read_layout(data)
    assert layout.splits == folders
    assert layout.classes == {s: {"a": ("a",), "b": ("b",)} for s in folders}
    for split, folder in folders.items():
        assert layout.place(f"{folder}/a/day 1/0.jpg") == (split, "a", "day 1/0.jpg")
        read = read_split(data, split)  # training, evaluation
        assert (read.folder, read.classes, len(read.photos)) == (data / folder, ("a", "b"), 6)
    assert photos_to_send(data).classes == {"a", "b"}  # load tests
    summary = prepare(data, tmp_path / "out", PrepareSettings(), workers=1)
    assert summary["given"] == folders
    assert {name: list(counts) for name, counts in summary["classes"].items()} == {
        name: [*folders, "dropped"] for name in "ab"
    }
    made = {row.path for row in read_manifest(tmp_path / "out" / "manifest.csv") if row.kept}
    assert made == {
        f"{f}/{c}/{n}.jpg" for f in folders.values() for c in ("a/day 1", "b") for n in range(3)
    }
    assert read_layout(tmp_path / "out").splits == {split: split for split in folders}
    for split in folders:
        assert len(read_split(tmp_path / "out", split).photos) == 6


def test_names_of_splits() -> None:
    named = {name: split_named(name) for name in ("Training", "VALID", "seg_test", "test-set", "dev")}
    assert list(named.values()) == ["train", "validation", "test", "test", "validation"]
    for name in ("trainer", "bullet train", "invalid", "contest", "test tube", "1_train", "seg_", ""):
        assert split_named(name) is None


def test_what_is_no_split(tmp_path: Path) -> None:
    """A folder of photos alone is a class, whatever its name; a class may have folders of its own."""
    for name in ("train/1.jpg", "plane/1.jpg"):
        (tmp_path / "vehicles" / name).parent.mkdir(parents=True)
        (tmp_path / "vehicles" / name).touch()
    assert read_layout(tmp_path / "vehicles").classes == {"": {"plane": ("plane",), "train": ("train",)}}
    (tmp_path / "one" / "bird" / "day 1").mkdir(parents=True)
    (tmp_path / "one" / "bird" / "day 2").mkdir()
    assert read_layout(tmp_path / "one").classes == {"": {"bird": ("bird",)}}  # not two classes of days


def test_train_beside_validation_is_split(fill: Callable[..., Path], tmp_path: Path) -> None:
    """The validation photos stay that, and test photos are taken from train's."""
    data = fill(["train", "val"], count=10)
    (data / "train" / "a" / "copy.jpg").write_bytes(
        (data / "val" / "a" / "day 1" / "0.jpg").read_bytes()
    )
    summary = prepare(data, tmp_path / "out", PrepareSettings(), workers=1)
    counts = {"train": 8, "validation": 10, "test": 2}
    assert summary["classes"] == {"a": {**counts, "dropped": 1}, "b": {**counts, "dropped": 0}}
    (leak,) = summary["leaks"]
    assert (leak["train"], leak["test"]) == ("train/a/copy.jpg", "val/a/day 1/0.jpg")
    assert not leak["open"]
    rows = {row.path: row for row in read_manifest(tmp_path / "out" / "manifest.csv")}
    assert rows["val/a/day 1/0.jpg"].kept
    assert not rows["train/a/copy.jpg"].kept


def test_spellings_of_one_class(tmp_path: Path, fill: Callable[..., Path]) -> None:
    """macOS' archives have é as e and an accent (NFD); everyone else has one character (NFC)."""
    data = fill(["train", "test"])
    for folder, form in (("train/a", "NFC"), ("test/a", "NFD"), ("train/b", "NFD"), ("test/b", "NFC")):
        name = {"a": "h\xe9ron", "b": "M\xf6we"}[folder[-1]]
        (data / folder).rename(data / folder[:-2] / unicodedata.normalize(form, name))
    (data / "train" / unicodedata.normalize("NFC", "M\xf6we")).mkdir()
    assert (
        read_split(data, "train").classes == read_split(data, "test").classes == ("M\xf6we", "h\xe9ron")
    )
    assert len(classes_in(data / "train")["M\xf6we"]) == 2
    assert [p.label for p in read_split(data, "train").photos] == [0, 0, 0, 1, 1, 1]
    assert photos_to_send(data).classes == {"M\xf6we", "h\xe9ron"}
    summary = prepare(data, tmp_path / "out", PrepareSettings(), workers=1)
    assert set(summary["classes"]) == {"M\xf6we", "h\xe9ron"}
    assert read_split(tmp_path / "out", "train").classes == ("M\xf6we", "h\xe9ron")


@pytest.mark.parametrize("other", ["Bird", "bird ", "bird.", " bird", "\uff42ird"])
def test_classes_that_look_alike_are_refused(other: str) -> None:
    require_distinct(["bird", "birds", "b.ird"], "'x'")
    with pytest.raises(
        InputError, match=r"'x' has the class folders 'bird' and .*, one class by the look"
    ):
        require_distinct(["bird", other], "'x'")


def test_a_class_that_is_a_broken_link_is_named(tmp_path: Path, fill: Callable[..., Path]) -> None:
    data = fill(["train"])
    (tmp_path / "c").mkdir()
    (data / "train" / "c").symlink_to(tmp_path / "c")
    (data / "train" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "c").rmdir()
    for read in (
        lambda: read_split(data, "train"),
        lambda: prepare(data, tmp_path / "o", PrepareSettings()),
    ):
        with pytest.raises(
            InputError, match=r"train/c' is a broken link \(to '.*/c'\): put its photos back"
        ):
            read()
    (data / "train" / "c").unlink()
    assert len(read_split(data, "train").photos) == 6
