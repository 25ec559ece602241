"""Temperature and threshold."""

import numpy as np
import pytest

from model.answers import UNKNOWN
from model.calibration import Calibration
from model.errors import InputError

SCORES = np.log(np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]], np.float32))


def test_the_default_changes_nothing() -> None:
    np.testing.assert_array_equal(Calibration().probabilities(SCORES), np.exp(SCORES))
    assert Calibration().name("abc", np.array([0.3, 0.36, 0.34], np.float32)) == "b"


def test_temperature_is_a_power_of_the_probabilities() -> None:
    powers = np.exp(SCORES) ** 0.5
    expected = powers / powers.sum(axis=1, keepdims=True)
    found = Calibration(2.0).probabilities(SCORES)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("best", "name"), [(0.49, UNKNOWN), (0.5, "a"), (0.51, "a")])
def test_threshold(best: float, name: str) -> None:
    row = np.array([best, (1 - best) / 2, (1 - best) / 2], np.float32)
    assert Calibration(reject_below=0.5).name("abc", row) == name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0,), "temperature 0 must be"),
        ((float("nan"),), "temperature nan must be"),
        ((1, 1.1), "reject_below 1.1 must be from 0 to 1"),
        ((1, float("nan")), "reject_below nan"),
    ],
)
def test_what_makes_no_sense(values: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Calibration(*values)
