"""A bundle that answers: alone or in a batch, the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.bundle import read_bundle
from model.errors import PhotoTooLarge
from model.limits import PhotoLimits
from model.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor(read_bundle(run / "bundle"))


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_a_batch_answers_as_its_photos_do_one_by_one(
    predictor: Predictor, photos: list[bytes], n: int
) -> None:
    prepared = [predictor.prepare(photo) for photo in photos[:n]]
    batch = predictor.predict(prepared)
    assert (batch.shape, batch.dtype) == ((n, len(predictor.classes)), np.float32)
    alone = np.concatenate([predictor.predict([one]) for one in prepared])
    np.testing.assert_allclose(batch, alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(batch.sum(1), 1, rtol=0, atol=1e-5)


def test_photos_differ_in_their_answers(predictor: Predictor, photos: list[bytes]) -> None:
    """Or no test of equal answers says anything."""
    answers = predictor.predict([predictor.prepare(photo) for photo in photos])
    assert np.ptp(answers, axis=0).max() > 0.02


def test_golden_answers_are_this_predictors(predictor: Predictor, run: Path) -> None:
    entries = json.loads((run / "bundle" / "golden" / "golden.json").read_text())
    assert [e["label"] for e in entries] == list(predictor.classes)  # one photo held out of each
    for entry in entries:
        photo = (run / "bundle" / "golden" / entry["file"]).read_bytes()
        answer = predictor.predict([predictor.prepare(photo)])[0]
        expected = [entry["probabilities"][name] for name in predictor.classes]
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


def test_limits_are_the_ones_given(run: Path, photos: list[bytes]) -> None:
    predictor = Predictor(read_bundle(run / "bundle"), limits=PhotoLimits(max_bytes=100))
    with pytest.raises(PhotoTooLarge, match=f"{len(photos[0])} bytes.* 100 "):
        predictor.prepare(photos[0])


def test_warm_up_changes_no_answer(predictor: Predictor, photos: list[bytes]) -> None:
    prepared = [predictor.prepare(photos[0])]
    before = predictor.predict(prepared)
    predictor.warm_up(4)
    assert np.array_equal(predictor.predict(prepared), before)
