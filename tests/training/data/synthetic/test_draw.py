"""The stand-in photos: reproducible, in layout, and never written over anything."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import InputError
from training.data.synthetic.draw import CLASSES, draw, synthesize

PER_CLASS = 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "photos"
    synthesize(out, PER_CLASS, seed=7, workers=1)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_same_seed_same_bytes_on_any_number_of_workers(dataset: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", PER_CLASS, seed=7, workers=2)
    assert contents(tmp_path / "again") == contents(dataset)


def test_every_photo_differs_from_every_other_and_from_another_seeds(
    dataset: Path, tmp_path: Path
) -> None:
    synthesize(tmp_path / "other", PER_CLASS, seed=8, workers=1)
    photos = [*dataset.rglob("*.jpg"), *(tmp_path / "other").rglob("*.jpg")]
    assert len({path.read_bytes() for path in photos}) == 2 * PER_CLASS * len(CLASSES)


def test_layout(dataset: Path) -> None:
    train = {f"train/{name}/{index:04d}.jpg" for name in CLASSES for index in range(4)}
    test = {f"test/{name}/0004.jpg" for name in CLASSES}
    assert set(contents(dataset)) == train | test | {"synthetic.json"}
    assert json.loads((dataset / "synthetic.json").read_text()) == {
        "seed": 7,
        "per_class": PER_CLASS,
        "test_share": 0.25,
        "classes": list(CLASSES),
    }


def test_photos_are_rgb_jpegs_of_the_promised_sizes(dataset: Path) -> None:
    for path in dataset.rglob("*.jpg"):
        with Image.open(path) as photo:
            photo.load()
            assert (photo.format, photo.mode) == ("JPEG", "RGB")
            shorter, longer = sorted(photo.size)
        assert 160 <= longer <= 1600
        assert 4 / 3 - 0.02 <= longer / shorter <= 16 / 9 + 0.02


@pytest.mark.parametrize("name", CLASSES)
def test_draw_depends_on_its_generator_alone(name: str) -> None:
    photo = draw(name, np.random.default_rng(3))
    assert photo.dtype == np.uint8
    assert photo.shape[2:] == (3,)
    assert np.array_equal(photo, draw(name, np.random.default_rng(3)))


def test_classes_share_the_frame_and_differ_in_the_picture() -> None:
    first, *others = (draw(name, np.random.default_rng(5)) for name in CLASSES)
    for other in others:
        assert other.shape == first.shape
        assert not np.array_equal(other, first)


@pytest.mark.parametrize(
    ("per_class", "share", "train", "test"), [(4, 0.5, 8, 8), (2, 0.01, 4, 4), (3, 0.99, 4, 8)]
)
def test_counts(tmp_path: Path, per_class: int, share: float, train: int, test: int) -> None:
    out = tmp_path / "photos"
    out.mkdir()  # an empty folder is fine
    counts = synthesize(out, per_class, seed=0, test_share=share, workers=1)
    assert counts == {"train": train, "test": test}
    assert len(list((out / "train").rglob("*.jpg"))) == train
    assert len(list((out / "test").rglob("*.jpg"))) == test


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("training.data.synthetic.draw.plant", fail)
    with pytest.raises(OSError, match="the disk is full"):
        synthesize(tmp_path / "photos", 2, seed=0, workers=1, defects=True)
    assert list(tmp_path.iterdir()) == []


def test_existing_data_is_refused_and_left_alone(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "photos")
    with pytest.raises(InputError, match=r"photos' exists already.*name another one"):
        synthesize(tmp_path / "photos", PER_CLASS, seed=8)
    assert contents(tmp_path / "photos") == contents(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        synthesize(tmp_path / "photos", PER_CLASS, seed=8)
    assert (tmp_path / "photos").read_text() == "mine"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"per_class": 1}, r"per_class is 1; .*2 to 100000"),
        ({"per_class": 100_001}, r"per_class is 100001; .*2 to 100000"),
        ({"test_share": 0.0}, r"test_share is 0\.0; .*between 0 and 1"),
        ({"test_share": 1.0}, r"test_share is 1\.0; .*between 0 and 1"),
        ({"test_share": float("nan")}, r"test_share is nan; .*between 0 and 1"),
        ({"seed": -1}, r"seed is -1; .*0 up"),
        ({"workers": 0}, r"workers is 0; .*1 or more"),
    ],
)
def test_bad_numbers_are_refused_by_name(tmp_path: Path, wrong: dict[str, float], message: str) -> None:
    arguments = {"per_class": 2, "seed": 0, "test_share": 0.25, "workers": 1} | wrong
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "photos", **arguments)
    assert list(tmp_path.iterdir()) == []
