"""`flyobj data suspects` on photos: the table, reasons, decisions that stay, and odd folders."""

import csv
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.errors import InputError
from training.data.decisions import read_suspects
from training.data.manifest import Row
from training.suspects import thorough
from training.suspects.find import Options, find_suspects
from training.suspects.groups import find_units

NO_PAIRS = np.empty((0, 2), np.int64)


@pytest.fixture(scope="module")
def options(weights_file: Path) -> Options:
    return Options(weights=str(weights_file), size=32)


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset, tmp_path / "data")


def test_every_photo_is_in_the_table_once(data: Path, tmp_path: Path, options: Options) -> None:
    (data / "train" / "Winged Drones" / "notes.txt").write_text("no photo")
    report = find_suspects(data, tmp_path / "out", options)
    with (tmp_path / "out" / "suspects.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label", "suggested", "score", "reason", "decision"]
    photos = {path.relative_to(data).as_posix() for path in data.rglob("*.jpg")}
    assert sorted(row[0] for row in rows) == sorted(photos)
    assert all(row[1] == row[0].split("/")[1] != row[2] for row in rows)
    scores = [float(row[3]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert report.suspects == report.undecided == sum(bool(row[4]) for row in rows)
    assert set(report.by_split) == {"train", "test"}
    assert report.left_out == 2
    again = find_suspects(data, tmp_path / "again", options)
    assert again.suspects == report.suspects
    table = [tmp_path / name / "suspects.csv" for name in ("out", "again")]
    assert table[0].read_bytes() == table[1].read_bytes()


def test_a_copy_in_another_class_is_a_suspect_and_decisions_stay(
    data: Path, tmp_path: Path, options: Options
) -> None:
    photo = sorted(data.glob("train/Flying Birds/*.jpg"))[0]
    copy = data / "test" / "Winged Drones" / "copy.jpg"
    shutil.copy(photo, copy)
    out = tmp_path / "out"
    find_suspects(data, out, options)
    found = {line.path: line for line in read_suspects(out / "suspects.csv")}
    lines = [found[path.relative_to(data).as_posix()] for path in (photo, copy)]
    assert [line.reason for line in lines] == [
        "nearly the same as test/Winged Drones/copy.jpg, which is Winged Drones",
        f"nearly the same as train/Flying Birds/{photo.name}, which is Flying Birds",
    ]
    table = out / "suspects.csv"
    text = table.read_text().splitlines()
    edited = [line + "drop" * line.startswith("test/Winged Drones/copy.jpg,") for line in text]
    table.write_text("\n".join(edited) + "\n")
    report = find_suspects(data, out, options)
    decided = {line.path: line.decision for line in read_suspects(table) if line.decision}
    assert decided == {"test/Winged Drones/copy.jpg": "drop"}
    assert report.undecided == report.suspects - 1
    copy.unlink()
    assert find_suspects(data, out, options).lost_decisions == 1


def test_the_network_of_a_run(data: Path, run: Path, tmp_path: Path) -> None:
    report = find_suspects(data, tmp_path / "out", Options(run=run))
    assert (report.network, report.photos) == (str(run), 40)


@pytest.mark.slow
def test_short_fine_tunings_judge_photos_that_they_have_not_seen(
    data: Path, tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thorough, "FOLDS", 2)
    monkeypatch.setattr(thorough, "EPOCHS", 1)
    options = Options(weights=str(weights_file), size=32, thorough=True)
    report = find_suspects(data, tmp_path / "out", options)
    lines = read_suspects(tmp_path / "out" / "suspects.csv")
    assert report.photos == len(lines) == 40
    assert all(line.score for line in lines)
    assert not list(data.rglob("run"))


def test_folders_that_can_not_be_judged(data: Path, tmp_path: Path, options: Options) -> None:
    one = Options(group_regex="^()", weights=options.weights, size=32)
    same = Options(group_regex=r"(\.jpg)$", weights=options.weights, size=32)
    with pytest.raises(InputError, match="matches none of"):
        find_suspects(data, tmp_path / "out", one)
    with pytest.raises(InputError, match="are one group, so no model"):
        find_suspects(data, tmp_path / "out", same)
    with pytest.raises(InputError, match="contain one another"):
        find_suspects(data, data / "suspects", options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="exists already and has no suspects"):
        find_suspects(data, tmp_path / "mine", options)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    assert not (tmp_path / "out").exists()


def save_frame(path: Path, colour: tuple[int, ...], seed: int) -> None:
    """A sky of one colour, with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 12, (48, 48, 3))
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)


def test_the_table_says_why(
    tmp_path: Path, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame in a wrong folder, a photo like no other, and a class that is one clip alone."""
    data, seed = tmp_path / "data", 0
    for clip in range(14):
        label = "c" if clip == 13 else "ab"[clip % 2]
        for frame in range(5):
            seed += 1
            folder = "b" if (clip, frame) == (0, 0) else label
            colour = {"a": (200, 90 + clip, 60), "b": (60, 110 + clip, 200), "c": (90, 160, 90)}[label]
            save_frame(data / folder / f"v{clip}_f{frame}.png", colour, seed)
    lines = np.kron(np.indices((12, 12)).sum(axis=0) % 2 * 255, np.ones((4, 4))).astype(np.uint8)
    Image.fromarray(lines).save(data / "a" / "odd.png")
    by_clip = replace(options, group_regex=r"^(v\d+)_")
    report = find_suspects(data, tmp_path / "out", by_clip)
    found = {line.path: line for line in read_suspects(tmp_path / "out" / "suspects.csv")}
    assert found["b/v0_f0.png"].reason == "4 of 4 other photos of its group are a"
    assert found["a/odd.png"].reason == "unlike the other photos of any class"
    assert report.unjudged == 5
    assert [path.partition("_")[0] for path in found][-5:] == ["c/v13"] * 5
    said = capsys.readouterr().err
    assert "warning: 5 photos can't be judged, as their class has too few photos outside" in said


def test_photos_of_one_class_cannot_be_judged(
    photo_folder: Callable[..., Path], tmp_path: Path, options: Options
) -> None:
    data = photo_folder(train={"a": 3, "b": 1})
    (data / "train" / "b" / "0.jpg").write_text("words")
    with pytest.raises(InputError, match=r"readable photos in 1 class\(es\), \['a'\]; labels can be"):
        find_suspects(data, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_short_fine_tunings_need_photos_of_each_class(
    photo_folder: Callable[..., Path], tmp_path: Path, options: Options
) -> None:
    data = photo_folder(train={"a": 8, "b": 4})
    for photo in data.rglob("*.jpg"):  # pairs, of which b has two: one to ask about, one to train on
        photo.rename(photo.with_name(f"{photo.parent.name}{int(photo.stem) // 2}_{photo.name}"))
    thorough = replace(options, group_regex=r"^(\w\d)_", thorough=True)
    with pytest.raises(InputError, match=r"--thorough can't train on a part of the photos \(class fold"):
        find_suspects(data, tmp_path / "out", thorough)
    for photo in [*data.rglob("*.jpg")]:
        if int(photo.stem.rpartition("_")[2]) > 1:
            photo.unlink()
    with pytest.raises(InputError, match="the largest class has 2; give at least 3 photos of a class"):
        find_suspects(data, tmp_path / "out", replace(thorough, group_regex=None))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("alike", [True, False])
def test_a_frame_in_a_wrong_folder_is_of_its_clip(tmp_path: Path, alike: bool) -> None:
    """Groups of one name are joined across classes if they look alike: `clip_1` of all classes don't."""
    names = [f"{c}/clip{n}_f{i}.jpg" for c in "ab" for n in range(12) for i in range(4)]
    if alike:  # a frame of each clip is in the other folder
        names = [re.sub("^a/clip(.*_f0)", r"b/clip\1", n.replace("b/clip", "b/film")) for n in names]
    rng = np.random.default_rng(0)
    clip = [n.split("_f")[0] for n in names]
    if alike:
        clip = [c.replace("b/clip", "a/clip") for c in clip]
    scene = {name: rng.uniform(0, 9, 50) for name in sorted({*clip})}
    features = np.array([scene[c] + rng.uniform(0, 1, 50) for c in clip], np.float32)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    colours = {c: bytes(rng.integers(0, 256, 3).tolist()).hex() for c in scene}
    rows = [Row(n, n[0], file=n[2:], colour=colours[c]) for n, c in zip(names, clip, strict=True)]
    units = find_units(tmp_path, rows, NO_PAIRS, None, features)
    assert len(np.unique(units)) == len({*clip})
