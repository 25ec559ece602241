"""A training run: what it refuses and what it writes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle import read_bundle
from model.errors import InputError
from model.predictor import Predictor
from training.calibrate import recalibrate
from training.data.photos import read_split
from training.fit.plan import Plan, read_plan
from training.fit.settings import TrainSettings
from training.run import _code_version, train

pytestmark = pytest.mark.slow

MakeData = Callable[..., Path]
TINY = TrainSettings("none", size=32, epochs=4, batch_size=8, workers=0, seed=3, logger="csv")


def test_an_existing_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="run' exists already; give another or remove it"):
        train(tmp_path / "data", tmp_path / "run", TrainSettings())
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("test", "weights", "message"),
    [
        ({"a": 1, "wasp": 1}, "none", r"test' has classes \['wasp'\] that aren't in train, which has"),
        ({"a": 1}, "no.pt", r"weights '.*no\.pt': no such file"),
    ],
)
def test_what_would_fail_later_fails_at_once(
    photo_folder: MakeData, tmp_path: Path, test: dict[str, int], weights: str, message: str
) -> None:
    data = photo_folder(train={"a": 3, "b": 3}, test=test)
    with pytest.raises(InputError, match=message):
        train(data, tmp_path / "run", TrainSettings(weights, 32))
    assert not (tmp_path / "run").exists()


def test_weights_of_wrong_shapes_are_refused(photo_folder: MakeData, tmp_path: Path) -> None:
    data = photo_folder(train={"a": 3, "b": 3})
    torch.save({"features.0.0.weight": torch.zeros(3)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="don't fit torchvision's mobilenet_v2"):
        train(data, tmp_path / "run", TrainSettings(str(tmp_path / "w.pt"), 32))
    assert not (tmp_path / "run").exists()


def test_bf16_needs_a_processor_for_it(
    photo_folder: MakeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(InputError, match=r"'bf16' needs a processor with .* give --precision 32"):
        train(
            photo_folder(train={"a": 3, "b": 3}),
            tmp_path / "run",
            TrainSettings("none", precision="bf16"),
        )


def test_what_a_run_writes(run: Path, dataset: Path, weights_file: Path) -> None:
    report = json.loads((run / "run.json").read_text())
    spec = read_bundle(run / "bundle").spec
    split = read_split(dataset, "train")
    assert tuple(report["classes"]) == spec.classes == split.classes
    assert spec.data_fingerprint == split.fingerprint
    assert spec.preprocessing.size == report["settings"]["size"] == 64
    assert report["settings"]["weights"] == str(weights_file)
    assert report["photos"] == {"train": 28, "validation": 4}
    assert all((dataset / "train" / name).is_file() for name in report["validation_files"])
    assert (report["skipped"], report["turned_unreadable"], report["class_weights"]) == ([], [], None)
    names = [s["stage"]["name"] for s in report["stages"]]
    assert names in (["head"], ["head", "whole"])  # the first may leave nothing to gain
    assert report["kept"] in names
    assert "validation accuracy" in report["stopped_because"]
    assert [(s["lr"], s["lr_from"]) for s in report["stages"]] == [(0.003, "given")] * len(names)
    logs = run / "logs"
    assert "train_loss" in (logs / "csv" / "head" / "metrics.csv").read_text()
    assert list((logs / "tensorboard" / "head").glob("events*"))
    assert list((run / "checkpoints").iterdir()) == []  # a run that is done needs none


def test_validation_sees_photos_as_they_are_served(run: Path, dataset: Path) -> None:
    """The loss that chose the weights is the one that the bundle has on these photos, without more."""
    report = json.loads((run / "run.json").read_text())
    (best,) = [s for s in report["stages"] if s["stage"]["name"] == report["kept"]]
    bundle = read_bundle(run / "bundle")
    predictor = Predictor(bundle)
    losses = []
    for name in report["validation_files"]:
        pixels = predictor.prepare((dataset / "train" / name).read_bytes())
        (scores,) = predictor.outputs([pixels]).scores
        losses.append(-scores[bundle.spec.classes.index(name.split("/")[0])])
    assert best["val_loss"] == pytest.approx(float(np.mean(losses)), abs=1e-4)


def test_skipped_files_are_said_and_in_the_report(
    photo_folder: MakeData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And two photos a class are enough."""
    data = photo_folder(train={"a": 3, "b": 2})
    bad = data / "train" / "a" / "2.jpg"
    bad.write_text("words")
    train(data, tmp_path / "run", TrainSettings("none", 32, 1, 2, 0))
    said = capsys.readouterr().err
    assert "1 of 5 left out: 1 not an image" in said
    assert f"files left out: 1, listed in '{tmp_path / 'run' / 'settings.json'}'" in said
    report = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [s["file"] for s in report["skipped"]] == [str(bad)]
    assert "is no photo" in report["skipped"][0]["reason"]
    assert report["photos"] == {"train": 2, "validation": 2}


def test_uneven_classes_weight_the_loss(photo_folder: MakeData, tmp_path: Path) -> None:
    data = photo_folder(train={"a": 9, "b": 3})
    plans = [
        Plan(
            data,
            TrainSettings(class_weights=how),
            ("a", "b"),
            "",
            read_split(data, "train").photos,
            (),
            (),
            0,
        )
        for how in ("auto", "off")
    ]
    assert plans[0].class_weights == (12 / 18, 2.0)
    assert plans[1].class_weights is None
    (tmp_path / "data" / "train" / "b" / "3.jpg").write_bytes(b"x")


def test_a_stage_that_gains_nothing_ends_early_and_says_so(
    photo_folder: MakeData, weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = photo_folder(train={"a": 4, "b": 4}), tmp_path / "run"
    settings = TrainSettings(str(weights_file), 32, 40, 4, 0, logger="csv", lr=1e-12, patience=1)
    train(data, out, settings)
    said = capsys.readouterr().err
    for stage in json.loads((out / "run.json").read_text())["stages"]:
        assert (stage["epochs"] < stage["stage"]["epochs"]) == ("no better for 1" in stage["ended"])
        line = f"{stage['stage']['name']:<9} ends: {stage['ended']}\n"
        assert (line in said) == ("no better for 1" in stage["ended"])
    assert "ends: no better for 1 epochs\n" in said


def test_a_full_disk_is_said_so(photo_folder: MakeData, tmp_path: Path) -> None:
    """The shell's limit on file sizes stands in for it."""
    data = photo_folder(train={"a": 3, "b": 3})
    words = f"train {data} --out {tmp_path / 'run'} --weights none --size 32 --epochs 1 --workers 0"
    command = f"ulimit -f 2000; exec {sys.executable} -m cli {words} --batch-size 4 --logger csv"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1, done.stderr
    assert "run' can't be written (File too large); make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_code_that_is_in_no_repository_has_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert _code_version() == "unknown"
    monkeypatch.setenv("PATH", "")  # without git
    assert _code_version() == "unknown"


def test_validation_photos_that_come_are_used(
    photo_folder: MakeData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = photo_folder(Training={"a": 4, "b": 4}, valid={"a": 2, "b": 2}), tmp_path / "run"
    train(data, out, TrainSettings("none", 32, 1, 4, 0))
    document = json.loads((out / "run.json").read_text())
    assert document["photos"] == {"train": 8, "validation": 4}
    assert document["folders"] == ["Training", "valid"]
    assert sorted(document["validation_files"]) == ["a/0.jpg", "a/1.jpg", "b/0.jpg", "b/1.jpg"]
    said = "validation: 4 photos of 'valid', nothing is held out of 8 training photos"
    assert said in capsys.readouterr().err.replace(f"{data}/", "")
    plan = read_plan(out)
    assert {photo.path.parent.parent for photo in plan.train} == {data / "Training"}
    assert {photo.path.parent.parent for photo in plan.validation} == {data / "valid"}
    assert recalibrate(out, None, None).photos == 4
    shutil.rmtree(data / "valid" / "b")
    (data / "valid" / "c").mkdir()
    (data / "valid" / "c" / "0.jpg").write_bytes((data / "valid" / "a" / "0.jpg").read_bytes())
    with pytest.raises(InputError, match=r"valid' has the classes \['a', 'c'\].*move 'valid' away"):
        train(data, tmp_path / "other", TINY)
