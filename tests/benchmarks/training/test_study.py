"""The study of recipes: folds without leaks, balanced arms, runs that aren't repeated, what is read."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from benchmarks.training.arms import FACTORS, WORDS, Arm, OneCycleSgd, screen
from benchmarks.training.study import jobs, make_folds, study
from benchmarks.training.table import arms, draw_range_tests, effects, read_rows
from model.errors import InputError
from training.data.photos import Photo
from training.fit.plan import Plan
from training.fit.settings import TrainSettings

CLIPS = r"^(.+)_f\d+"


def plan_of(clips: dict[str, int], settings: TrainSettings) -> Plan:
    """A plan of three frames a clip, by class."""
    names = sorted(clips)
    photos = [
        Photo(Path("/data/train", name, f"{name}{clip}_f{frame}.jpg"), label)
        for label, name in enumerate(names)
        for clip in range(clips[name])
        for frame in range(3)
    ]
    return Plan(Path("/data"), settings, tuple(names), "", tuple(photos), (), (), 0)


def test_each_photo_is_answered_once_and_its_clip_is_never_learned_from() -> None:
    settings = TrainSettings(group_regex=CLIPS)
    plan = plan_of({"bird": 20, "drone": 12}, settings)
    folds = make_folds(plan, 5)
    assert sorted(p.path for fold in folds for p in fold.held) == sorted(p.path for p in plan.train)
    for fold in folds:
        parts = [fold.held, fold.plan.train, fold.plan.validation]
        clips = [{photo.path.name.split("_f")[0] for photo in part} for part in parts]
        assert not any(one & other for one, other in combinations(clips, 2))
        assert sum(map(len, parts)) == 96
        assert {photo.label for photo in fold.held} == {0, 1}


def test_folds_need_clips_enough_of_each_class() -> None:
    plan = plan_of({"bird": 20, "drone": 3}, TrainSettings(group_regex=CLIPS))
    with pytest.raises(
        InputError, match=r"--folds 5: class 'drone' is in 3 group\(s\) only.* --folds 3"
    ):
        make_folds(plan, 5)
    with pytest.raises(InputError, match="--folds 1 must be at least 2"):
        make_folds(plan, 1)


@pytest.mark.parametrize("fold", range(5))
def test_in_a_screen_every_word_and_every_pair_is_balanced(fold: int) -> None:
    chosen = [Arm(name).words for name in screen(fold)]
    assert len(set(chosen)) == 8
    assert all(sum(word in words for words in chosen) == 4 for word in FACTORS)
    pairs = combinations(FACTORS, 2)
    assert all(sum({one, other} <= words for words in chosen) == 2 for one, other in pairs)


def test_words_change_what_they_say() -> None:
    plan = plan_of({"bird": 4, "drone": 4}, TrainSettings())
    arm = Arm("mission+linear+most+sgd+smooth+all")
    changed = arm.plan(plan).settings
    assert (changed.augment, changed.head, changed.label_smoothing) == ("mission", "linear", 0.1)
    assert [(s.name, s.trainable_blocks) for s in arm.stages(changed) or ()] == [
        ("head", 0),
        ("most", 16),
    ]
    assert arm.trainer.loop is OneCycleSgd
    assert Arm("default").plan(plan) == plan
    assert set(FACTORS) < set(WORDS)
    with pytest.raises(InputError, match=r"arm 'mission\+great': \['great'\] aren't among default"):
        Arm("mission+great")


def test_seeds_come_first_so_that_what_is_there_is_balanced() -> None:
    listed = list(jobs(["default", "screen"], [0, 1], 2))
    assert listed[:2] == [("default", 0, 0), (screen(0)[0], 0, 0)]
    assert [(seed, fold) for _, seed, fold in listed[::9]] == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_is_read(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = photo_folder(train={"a": 26, "b": 26}), tmp_path / "study.jsonl"
    settings = TrainSettings("none", 32, 1, 4, workers=0, logger="csv")
    assert study(data, out, settings, ["default"], [0], 2, float("inf")) == 2
    assert study(data, out, settings, ["default", "linear+sgd", "probe"], [0], 2, float("inf")) == 4
    rows = read_rows(out)
    assert [row["arm"] for row in rows] == ["default"] * 2 + ["linear+sgd", "probe"] * 2
    assert sorted(rows[0]["files"] + rows[1]["files"]) == sorted(
        path.relative_to(data / "train").as_posix() for path in (data / "train").rglob("*.jpg")
    )
    assert rows[0]["files"] == rows[2]["files"]
    lines = {line.name: line for line in arms(rows)}
    assert set(lines) == {"default", "linear+sgd", "probe"}
    assert lines["default"].change.difference == 0
    right = [sum(row["accuracy"] * len(row["files"]) for row in rows if row["arm"] == "probe")]
    assert lines["probe"].change.new == pytest.approx(right[0] / 52)
    assert effects(rows) == []  # no fold has all of the screen
    draw_range_tests([row for row in rows if "curves" in row], tmp_path / "tests.png")
    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="has no runs yet"):
        read_rows(tmp_path / "empty")
