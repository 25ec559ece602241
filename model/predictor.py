"""A bundle ready to answer: bytes of photos in, probabilities out.

Evaluation, the golden answers and the handler all go through here; it is the whole path of promise 1:
`decode_photo -> resize -> normalize -> network -> calibration`.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.bundle import Bundle
from model.explain import Heatmap, grad_cam
from model.image import DEFAULT_LIMITS, RGB, Limits, decode_photo


class Predictor:
    """Eager PyTorch, channels last: the reference that every other engine is held against."""

    def __init__(self, bundle: Bundle, device: str = "cpu", limits: Limits = DEFAULT_LIMITS) -> None:
        """Move the bundle's network to `device`."""
        self.classes = bundle.spec.classes
        self.engine = f"PyTorch {torch.__version__} on {device}"
        self.limits = limits
        self._preprocessing = bundle.spec.preprocessing
        self._calibration = bundle.spec.calibration
        self._device = torch.device(device)
        self._network = bundle.network.eval().to(self._device).to(memory_format=torch.channels_last)

    def prepare(self, photo: bytes | bytearray, limits: Limits | None = None) -> RGB:
        """Decode and resize one photo to (S, S, 3) uint8; raises `PhotoError`."""
        return self._preprocessing.resize(decode_photo(photo, limits or self.limits))

    def predict(self, photos: Sequence[RGB]) -> npt.NDArray[np.float32]:
        """Answer N prepared photos with (N, classes) float32 probabilities."""
        scores = self.scores(photos)
        probabilities: npt.NDArray[np.float32] = self._calibration.probabilities(scores).cpu().numpy()
        return probabilities

    @torch.inference_mode()
    def scores(self, photos: Sequence[RGB]) -> Tensor:
        """Answer N prepared photos with (N, classes) log-probabilities, before calibration."""
        return cast(Tensor, self._network(self._batch(photos)))

    def name(self, row: npt.NDArray[np.float32]) -> str:
        """Name the best class of a (classes,) row of probabilities, or "unknown"."""
        return self._calibration.name(self.classes, row)

    def explain(self, photos: Sequence[RGB]) -> list[Heatmap]:
        """Answer N prepared photos with the (S/32, S/32) heat of each one's best class."""
        return list(grad_cam(self._network, self._batch(photos)).cpu().numpy())

    def warm_up(self, batch_size: int) -> None:
        """Answer grey photos, so that the first real request doesn't pay for lazy set-up."""
        grey = np.full((self._preprocessing.size, self._preprocessing.size, 3), 128, np.uint8)
        for n in {1, batch_size}:
            self.predict([grey] * n)

    def _batch(self, photos: Sequence[RGB]) -> Tensor:
        batch = torch.from_numpy(self._preprocessing.normalize(np.stack(photos)))  # (N, S, S, 3)
        return batch.permute(0, 3, 1, 2).to(self._device)  # (N, 3, S, S), channels last in memory
