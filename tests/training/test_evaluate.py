"""Evaluation: figures that agree with one another and with values from the literature."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training.evaluate import evaluate, wilson

from model.bundle import read_bundle
from model.errors import InputError


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (81, 263, 0.2553, 0.3662),  # Newcombe, "Two-sided confidence intervals", 1998, table I
    ],
)
def test_wilson(right: int, of: int, low: float, high: float) -> None:
    assert wilson(right, of) == pytest.approx((low, high), abs=5e-5)


def test_figures_agree(run_copy: Path, dataset: Path) -> None:
    result = evaluate(run_copy, dataset)
    classes = read_bundle(run_copy / "bundle").spec.classes
    confusion = np.array(result.confusion)
    assert confusion.shape == (4, 4)
    assert confusion.sum(1).tolist() == [2, 2, 2, 2]  # photos of each true class
    assert result.photos == confusion.sum() == 8
    assert result.accuracy == np.trace(confusion) / 8
    assert len(result.mistakes) == 8 - np.trace(confusion)
    for mistake in result.mistakes:
        assert Path(mistake.file).parent.name == mistake.truth
        assert mistake.truth != mistake.predicted
        assert confusion[classes.index(mistake.truth), classes.index(mistake.predicted)] > 0
    confidences = [mistake.confidence for mistake in result.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert result.accuracy_95 == wilson(int(np.trace(confusion)), 8)
    for i, name in enumerate(classes):
        row = result.per_class[name]
        assert row["recall"] == confusion[i, i] / 2
        assert row["precision"] == confusion[i, i] / max(1, confusion[:, i].sum())
        assert row["photos"] == 2


def test_what_evaluation_writes(run_copy: Path, dataset: Path) -> None:
    result = evaluate(run_copy, dataset)
    document = json.loads((run_copy / "evaluation.json").read_text())
    assert document["confusion"] == result.confusion
    assert len(document.pop("mistakes")) == len(result.mistakes)
    assert json.loads((run_copy / "bundle" / "metrics.json").read_text()) == document
    with Image.open(run_copy / "confusion.png") as picture:
        picture.load()
        assert min(picture.size) > 300
    read_bundle(run_copy / "bundle")  # the figures don't break the bundle


def test_classes_are_matched_by_name_not_by_place(run_copy: Path, dataset: Path, tmp_path: Path) -> None:
    whole = evaluate(run_copy, dataset)
    for name in ("Large QuadCopters", "Winged Drones"):
        source = dataset / "test" / name
        (tmp_path / "part" / "test").mkdir(parents=True, exist_ok=True)
        (tmp_path / "part" / "test" / name).symlink_to(source, target_is_directory=True)
    part = evaluate(run_copy, tmp_path / "part")
    assert part.confusion == [
        row if i in (1, 3) else [0, 0, 0, 0] for i, row in enumerate(whole.confusion)
    ]


def test_a_class_that_the_model_does_not_know_is_refused(
    run_copy: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "test").mkdir()
    for name in ("Flying Birds", "Balloons"):
        (tmp_path / "test" / name).symlink_to(dataset / "test" / "Flying Birds")
    with pytest.raises(InputError, match=r"has classes \['Balloons'\] that the model doesn't know; it"):
        evaluate(run_copy, tmp_path)
    assert not (run_copy / "evaluation.json").exists()


def test_photos_that_serving_does_not_name_are_counted(run_copy: Path, dataset: Path) -> None:
    before = evaluate(run_copy, dataset)
    path = run_copy / "bundle" / "model.json"
    document = json.loads(path.read_text())
    document["calibration"]["reject_below"] = 1.0
    path.write_text(json.dumps(document))
    after = evaluate(run_copy, dataset)
    assert (before.unknown, after.unknown) == (0, 8)
    assert after.confusion == before.confusion
