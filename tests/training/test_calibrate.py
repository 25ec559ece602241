"""Temperature and threshold: found where they are known, and kept with the model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from model.bundle import Bundle, read_bundle
from model.calibration import Calibration
from model.errors import InputError
from model.outputs import Rows
from model.predictor import Predictor
from report.intervals import Ints
from serving.archive.build import build_archive
from training import calibrate as module
from training.calibrate import (
    Temperature,
    _best_temperature,
    _losses,
    fit_temperature,
    held_out,
    recalibrate,
)

Draw = tuple[Rows, Ints, Ints]


def draw(temperature: float, groups: int, size: int = 8, seed: int = 0) -> Draw:
    """Scores of a network that is too sure by a temperature; groups are easy or hard as a whole."""
    rng = np.random.default_rng(seed)
    of_group = np.repeat(2 * rng.standard_normal((groups, 4)), size, axis=0)
    right = log_softmax(of_group + rng.standard_normal((groups * size, 4)), axis=1)
    labels = (np.exp(right).cumsum(1) > rng.random((len(right), 1))).argmax(1)
    scores = log_softmax(temperature * right, axis=1).astype(np.float32)
    return scores, labels, np.repeat(np.arange(groups), size)


@pytest.mark.parametrize("temperature", [1.5, 2.5])
def test_with_many_groups_the_temperature_that_the_labels_were_drawn_with_is_found(
    temperature: float,
) -> None:
    found = fit_temperature(*draw(temperature, 4000, 4))
    assert found.temperature == found.tried == pytest.approx(temperature, rel=0.03)
    assert found.note.startswith("kept: the negative log-likelihood of groups that")
    assert found.groups == 4000
    assert found.gain_90
    assert 0 < found.gain_90[0] < found.nll_before - found.nll < found.gain_90[1]
    assert found.ece < found.ece_before


def test_few_groups_take_it_part_of_the_way() -> None:
    found = fit_temperature(*draw(3.0, 40, 20))
    assert found.temperature == pytest.approx(np.sqrt(_best_temperature(*draw(3.0, 40, 20)[:2])))
    assert 1.5 < found.temperature < 2


def test_a_temperature_of_one_hard_group_is_not_kept() -> None:
    """One clip is confidently wrong, all others are right with the confidence that they deserve."""
    scores, labels, groups = draw(1.0, 40, 8)
    hard = groups == 0
    labels[hard] = scores[hard].argmin(axis=1)
    found = fit_temperature(scores, labels, groups)
    assert found.tried > 1.05
    assert found.temperature == 1
    assert found.note.startswith("not kept: the negative log-likelihood of groups")


def test_a_network_that_is_right_about_itself_is_left_alone() -> None:
    kept = [fit_temperature(*draw(1.0, 40, 8, seed)).temperature for seed in range(40)]
    assert np.mean(np.array(kept) != 1) <= 0.05


def test_what_is_kept_is_better_for_other_groups() -> None:
    """Of a network that is too sure: never worse than none, where the whole fit sometimes is."""
    scores, labels, groups = draw(1.6, 1200, 8, 1)
    one = np.ones(1)
    changes = []
    for start in range(0, 1200, 40):  # validation sets of 40 groups; all others are to come
        own = (groups >= start) & (groups < start + 40)
        found = fit_temperature(scores[own], labels[own], groups[own]).temperature
        other = scores[~own], labels[~own]
        changes.append(_losses(*other, found * one).mean() - _losses(*other, one).mean())
    assert max(changes) <= 0
    assert np.mean(changes) < -0.01


def test_confidences_are_not_raised() -> None:
    found = fit_temperature(*draw(0.5, 400))
    assert (found.temperature, found.tried, found.gain_90) == (1, 1, None)
    assert found.note.startswith("not below 1")


@pytest.mark.parametrize(
    ("photos", "groups", "note"),
    [
        (99, 99, "99 validation photos are fewer than 100"),
        (200, 1, "all validation photos are of one group"),
        (200, 200, "every validation photo"),
    ],
)
def test_photos_that_cannot_tell_leave_it_at_one(photos: int, groups: int, note: str) -> None:
    scores = np.log(np.array([[0.9, 0.1]] * photos, np.float32))
    found = fit_temperature(scores, np.zeros(photos, np.int64), np.arange(photos) % groups)
    assert found.temperature == 1
    assert note in found.note


@pytest.mark.parametrize("groups", [2, 3, 7])
def test_fewer_groups_than_folds(groups: int) -> None:
    """A class in one group only, too: its photos are left out as a whole."""
    scores, labels, numbers = draw(3.0, groups, 60)
    labels[numbers == 0] = 3
    labels[(numbers != 0) & (labels == 3)] = 2
    assert 1 <= fit_temperature(scores, labels, numbers).temperature <= 8


def test_a_run_lists_its_validation_photos_and_is_calibrated(run: Path, dataset: Path) -> None:
    document = json.loads((run / "run.json").read_text())
    files = document["validation_files"]
    assert len(set(files)) == document["photos"]["validation"] == 4
    assert {name.split("/")[0] for name in files} == set(document["classes"])
    assert all((dataset / "train" / name).is_file() for name in files)
    assert document["calibration"]["temperature"] == 1
    assert "fewer than 100" in document["calibration"]["note"]


def answers(bundle: Bundle) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    predictor = Predictor(bundle)
    return predictor.predict([predictor.prepare(golden.photo) for golden in bundle.golden])


@pytest.mark.slow
def test_calibrating_a_run(run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden answers follow, weights don't change, and the packaging check takes the result."""
    fitted = Temperature(2.0, 2.0, 4, 0.5, 0.4, 1.0, 0.9, (0.05, 0.15), "kept")
    monkeypatch.setattr(module, "fit_temperature", lambda *_: fitted)  # four photos are too few
    before = read_bundle(run_copy / "bundle")
    (run_copy / "bundle" / "metrics.json").write_text("{}")
    fit = recalibrate(run_copy, None, reject_rate=0.25)
    after = read_bundle(run_copy / "bundle")
    assert after.spec.calibration == Calibration(fit.temperature, reject_rate=0.25)
    shares = [golden.novelty for golden in after.golden]
    assert (fit.photos, fit.note) == (4, "kept")
    assert fit.rejected == sum(share < 0.25 for share in shares if share is not None)
    assert fit.novelty
    assert (fit.novelty.kind, fit.novelty.groups, fit.novelty.auroc) == ("ViM", 4, {})
    assert fit.temperature == 2
    assert json.loads((run_copy / "run.json").read_text())["calibration"]["tried"] == 2
    Predictor(after).check(after.golden)
    np.testing.assert_array_equal(answers(after).argmax(1), answers(before).argmax(1))
    for name, value in before.network.state_dict().items():
        assert torch.equal(value, after.network.state_dict()[name])
    assert not (run_copy / "bundle" / "metrics.json").exists()  # they were of another model
    assert sorted(p.name for p in run_copy.glob("bundle*")) == ["bundle"]
    build_archive(run_copy, "1.0", tmp_path / "store", "torch")
    assert recalibrate(run_copy, None, None).reject_rate is None  # off unless asked for
    assert read_bundle(run_copy / "bundle").spec.calibration == Calibration(fit.temperature)


def without_files(document: dict[str, object]) -> None:
    del document["validation_files"]


def moved(document: dict[str, object]) -> None:
    document["data"] = document["data_from_run"] = "elsewhere"


@pytest.mark.parametrize(
    ("change", "rate", "message"),
    [
        (lambda _: None, 1.0, r"--reject-rate 1\.0 must be a share from 0 to less than 1"),
        (lambda _: None, float("nan"), "--reject-rate nan must be"),
        (without_files, 0.1, "doesn't list its validation files; train again"),
        (moved, 0.1, r"(\d+) of the run's \1 photos aren't there.*give the folder .* with --data"),
    ],
)
def test_what_cannot_be_calibrated(
    run_copy: Path, change: Callable[[dict[str, object]], None], rate: float, message: str
) -> None:
    path = run_copy / "run.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    before = (run_copy / "bundle" / "model.json").read_bytes()
    with pytest.raises(InputError, match=message):
        recalibrate(run_copy, None, rate)
    assert (run_copy / "bundle" / "model.json").read_bytes() == before


def test_data_that_has_moved(run_copy: Path, dataset: Path) -> None:
    path = run_copy / "run.json"
    path.write_text(path.read_text().replace(str(dataset), "elsewhere"))
    assert recalibrate(run_copy, dataset, 0.5).photos == 4


def test_a_run_that_notes_no_groups_has_them_found_as_it_was_told_to(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """As earlier versions wrote it: of 12 photos six are held out, of clips 0, 1 and 2."""
    data = photo_folder(train={"a": 6, "b": 6})
    for photo in data.rglob("*.jpg"):
        photo.rename(photo.with_name(f"clip{int(photo.stem) % 3}_{photo.name}"))
    names = sorted(path.relative_to(data / "train").as_posix() for path in data.rglob("*.jpg"))
    document = {"data": str(data), "validation_files": names[::2], "train_files": names[1::2]}
    for settings, expected in (
        ({"group_regex": r"^(clip\d)"}, [0, 1, 2]),
        ({"group_regex": ""}, [*range(6)]),
    ):
        photos, groups, rest = held_out(
            {**document, "settings": settings}, tmp_path, ("a", "b"), None, "train again"
        )
        assert [len(photos), len(groups), len(rest)] == [6, 6, 6]
        assert sorted({*groups.tolist()}) == expected


def test_a_photo_that_cannot_be_read_any_more_is_named(
    run_copy: Path, dataset: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(dataset, tmp_path / "data")
    name = json.loads((run_copy / "run.json").read_text())["validation_files"][0]
    (data / "train" / name).write_text("words")
    with pytest.raises(
        InputError, match=rf"photo '.*/{name}' can't be read: the data starts with 'words'"
    ):
        recalibrate(run_copy, data, None)


def test_a_class_called_unknown_cannot_be_told_from_an_answer(run_copy: Path) -> None:
    bundle, name = run_copy / "bundle", "Winged Drones"
    for path in (bundle / "model.json", bundle / "golden" / "golden.json", run_copy / "run.json"):
        path.write_text(path.read_text().replace(f'"{name}"', '"unknown"'))
    text = (run_copy / "run.json").read_text()
    (run_copy / "run.json").write_text(text.replace(f'"{name}/', '"unknown/'))
    data = run_copy / "data"
    source = Path(json.loads(text)["data"])
    (data / "train").mkdir(parents=True)
    for folder in (source / "train").iterdir():
        (data / "train" / ("unknown" if folder.name == name else folder.name)).symlink_to(folder)
    with pytest.raises(InputError, match="needs the name 'unknown'"):
        recalibrate(run_copy, data, 0.1)
    assert recalibrate(run_copy, data, None).temperature == 1
