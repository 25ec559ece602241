"""Temperature and threshold: found where they are known, and kept with the model."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle import Bundle, read_bundle
from model.calibration import Calibration
from model.errors import InputError
from model.predictor import Predictor
from serving.archive.build import build_archive
from training import calibrate as module
from training.calibrate import fit_temperature, recalibrate, threshold


@pytest.mark.parametrize("temperature", [1.2, 2.5])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.log_softmax(2 * torch.randn(20_000, 4, generator=generator), dim=1).numpy()
    probabilities = torch.from_numpy(Calibration(temperature).probabilities(scores))
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    found, note = fit_temperature(scores, drawn[:, 0].numpy())
    assert (found, note) == (pytest.approx(temperature, rel=0.05), "")


def test_confidences_are_not_raised() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.log_softmax(torch.randn(2000, 4, generator=generator), dim=1).numpy()
    probabilities = torch.from_numpy(Calibration(0.5).probabilities(scores))
    drawn = torch.multinomial(probabilities, 1, generator=generator)
    found, note = fit_temperature(scores, drawn[:, 0].numpy())
    assert found == 1
    assert note.startswith("not below 1")


@pytest.mark.parametrize(
    ("photos", "note"),
    [(99, "99 validation photos are fewer than 100"), (200, "every validation photo")],
)
def test_photos_that_cannot_tell_leave_it_at_one(photos: int, note: str) -> None:
    scores = np.log(np.array([[0.9, 0.1]] * photos, np.float32))
    found, why = fit_temperature(scores, np.zeros(photos, np.int64))
    assert found == 1
    assert note in why


@pytest.mark.parametrize(("rate", "rejected"), [(0.0, 0), (0.02, 2), (0.029, 2), (0.5, 50), (0.99, 99)])
def test_the_threshold_rejects_at_most_the_rate(rate: float, rejected: int) -> None:
    best = np.random.default_rng(0).random(100)
    assert (best < threshold(best, rate)).sum() == rejected


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
    monkeypatch.setattr(module, "fit_temperature", lambda *_: (2.0, ""))  # four photos are too few
    before = read_bundle(run_copy / "bundle")
    (run_copy / "bundle" / "metrics.json").write_text("{}")
    fit = recalibrate(run_copy, None, reject_rate=0.25)
    after = read_bundle(run_copy / "bundle")
    assert after.spec.calibration == Calibration(fit.temperature, fit.reject_below)
    assert (fit.photos, fit.rejected, fit.note) == (4, 1, "")
    assert fit.temperature == 2
    Predictor(after).check(after.golden)
    np.testing.assert_array_equal(answers(after).argmax(1), answers(before).argmax(1))
    for name, value in before.network.state_dict().items():
        assert torch.equal(value, after.network.state_dict()[name])
    assert not (run_copy / "bundle" / "metrics.json").exists()  # they were of another model
    assert sorted(p.name for p in run_copy.glob("bundle*")) == ["bundle"]
    build_archive(run_copy, "1.0", tmp_path / "store")
    assert recalibrate(run_copy, None, None).reject_below is None  # off unless asked for
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
        (moved, 0.1, r"4 of the run's 4 validation photos aren't there.*give the folder .* with --data"),
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
    assert recalibrate(run_copy, dataset, 0.5).rejected == 2


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
