"""What a worker takes from its archive: settings, calibration, and whether it starts at all."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from model.bundle import read_bundle
from model.calibration import Calibration
from model.engines import TorchEngine
from model.errors import FlyobjError
from model.formats import FORMATS
from model.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from tests.handler.conftest import Requests, Worker

StartWorker = Callable[..., "Worker"]


@pytest.fixture
def calibrated(unpacked: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy what was unpacked with another calibration."""

    def copy(**values: float) -> Path:
        folder = shutil.copytree(unpacked, tmp_path / "model")
        path = folder / "bundle" / "model.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "calibration": values}))
        return folder

    return copy


def test_description(worker: "Worker", requests: "Requests", run: Path, unpacked: Path) -> None:
    ((status, described),) = worker.ask([requests.describe()])
    spec = read_bundle(run / "bundle").spec
    assert status == 200
    assert described["classes"] == list(spec.classes)
    assert described["input_size"] == 64
    assert described["precision"] == "f32"
    assert described["formats"] == list(FORMATS)
    limits = {**asdict(DEFAULT_LIMITS), "max_photos": 16}
    del limits["formats"]
    assert described["limits"] == limits
    assert described["data_fingerprint"] == spec.data_fingerprint
    assert described["engine"].startswith("PyTorch 2.")
    assert described["calibration"] == asdict(Calibration())
    metrics = unpacked / "bundle" / "metrics.json"
    assert described["metrics"] == (json.loads(metrics.read_text()) if metrics.exists() else None)


def test_no_request_is_the_first_of_its_batch_size(
    start_worker: StartWorker, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is ready once it has answered its golden photos and a batch of every size."""
    sizes: list[int] = []
    answer = TorchEngine.__call__

    def noted(self: TorchEngine, photos: "np.ndarray[Any, Any]", maps: bool = False) -> Any:
        sizes.append(len(photos))
        return answer(self, photos, maps)

    monkeypatch.setattr(TorchEngine, "__call__", noted)
    start_worker(unpacked)
    golden = len(read_bundle(unpacked / "bundle").golden)
    assert sizes[:golden] == [1] * golden
    assert set(range(1, 9)) <= set(sizes[golden:])


def test_limits_come_from_the_archives_settings(
    start_worker: StartWorker, requests: "Requests", unpacked: Path, photos: list[bytes]
) -> None:
    worker = start_worker(unpacked, limits={"max_bytes": 1000})
    ((status, answer),) = worker.ask([requests.raw(photos[0])])
    assert (status, answer["type"]) == (413, "PhotoTooLarge")
    assert " 1000 " in answer["message"]


def test_below_the_threshold_a_photo_is_unknown(
    start_worker: StartWorker,
    requests: "Requests",
    calibrated: Callable[..., Path],
    photos: list[bytes],
    expected: list[dict[str, float]],
) -> None:
    best = sorted(max(e.values()) for e in expected)
    threshold = (best[0] + best[-1]) / 2
    # It starts: the golden answers are right in spite of "unknown".
    worker = start_worker(calibrated(reject_below=threshold))
    answers = worker.ask([requests.raw(photo) for photo in photos])
    for (_, answer), right in zip(answers, expected, strict=True):
        assert (answer["predicted"] == "unknown") == (max(right.values()) < threshold)
        assert answer["probabilities"] == pytest.approx(right, abs=1e-5)


def test_below_the_rate_a_photo_is_unknown(
    start_worker: StartWorker,
    requests: "Requests",
    calibrated: Callable[..., Path],
    photos: list[bytes],
) -> None:
    worker = start_worker(calibrated(reject_rate=0.3))
    answers = [answer for _, answer in worker.ask([requests.raw(photo) for photo in photos])]
    assert len({answer["novelty"] for answer in answers}) == len(photos)
    for answer in answers:
        assert 0 <= answer["novelty"] <= 1
        assert (answer["predicted"] == "unknown") == (answer["novelty"] < 0.3)


def test_a_worker_that_would_answer_wrongly_does_not_start(
    start_worker: StartWorker, calibrated: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(FlyobjError, match="differently from training"):
        start_worker(calibrated(temperature=3.0))
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith("this worker doesn't start: the model answers")
    assert "\n" not in line
