"""What the network's scores are worth: temperature, and when to answer "unknown".

Applied by `model.predictor` alone, so evaluation, golden answers and serving agree. The defaults
change nothing; fitted values come from validation photos, and golden answers are written after them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.answers import UNKNOWN
from model.errors import InputError
from model.outputs import Rows


@dataclass(frozen=True)
class Calibration:
    """How log-probabilities become an answer.

    Attributes:
        temperature: the scores are divided by it before the softmax; above 1 it lowers confidence
            (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
        reject_below: a photo whose best probability is below this is answered "unknown" (Hendrycks
            and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in
            Neural Networks", ICLR 2017). Of older bundles; None for none.
        reject_rate: a photo whose `model.novelty` is below this is answered "unknown"; None for none.
    """

    temperature: float = 1.0
    reject_below: float | None = None
    reject_rate: float | None = None

    @property
    def rejects(self) -> bool:
        """Whether a photo may be answered "unknown"."""
        return self.reject_below is not None or self.reject_rate is not None

    def __post_init__(self) -> None:
        """Refuse what can't be computed with."""
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature {self.temperature} must be a number above 0")
        for name in ("reject_below", "reject_rate"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise InputError(f"{name} {value} must be from 0 to 1, or null")

    def probabilities(self, log_probabilities: Rows) -> Rows:
        """(N, classes) log-probabilities -> (N, classes) probabilities."""
        if self.temperature == 1:
            return np.asarray(np.exp(log_probabilities), np.float32)
        scaled = log_probabilities / np.float32(self.temperature)
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))  # the softmax, without overflow
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def name(
        self, classes: Sequence[str], row: npt.NDArray[np.float32], novelty: float | None = None
    ) -> str:
        """Name the best of a (classes,) row of probabilities, or "unknown"."""
        best = int(row.argmax())
        if self.reject_below is not None and row[best] < self.reject_below:
            return UNKNOWN
        if self.reject_rate is not None and novelty is not None and novelty < self.reject_rate:
            return UNKNOWN
        return classes[best]
