"""A bundle ready to answer: bytes of photos in, probabilities out.

Evaluation, the golden answers and the handler all go through here; it is the whole path of promise 1:
`decode_photo -> resize -> normalize -> network -> exp`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from model.bundle import Bundle
from model.image import DEFAULT_LIMITS, RGB, Limits, decode_photo


class Predictor:
    """Eager PyTorch, channels last: the reference that every other engine is held against."""

    def __init__(self, bundle: Bundle, device: str = "cpu", limits: Limits = DEFAULT_LIMITS) -> None:
        """Move the bundle's network to `device`."""
        self.classes = bundle.spec.classes
        self._preprocessing = bundle.spec.preprocessing
        self._limits = limits
        self._device = torch.device(device)
        self._network = bundle.network.eval().to(self._device).to(memory_format=torch.channels_last)

    def prepare(self, photo: bytes | bytearray) -> RGB:
        """Decode and resize one photo to (S, S, 3) uint8; raises `PhotoError`."""
        return self._preprocessing.resize(decode_photo(photo, self._limits))

    @torch.inference_mode()
    def predict(self, photos: Sequence[RGB]) -> npt.NDArray[np.float32]:
        """Answer N prepared photos with (N, classes) float32 probabilities."""
        batch = torch.from_numpy(self._preprocessing.normalize(np.stack(photos)))  # (N, S, S, 3)
        batch = batch.permute(0, 3, 1, 2).to(self._device)  # (N, 3, S, S), channels last in memory
        probabilities: npt.NDArray[np.float32] = self._network(batch).exp().cpu().numpy()
        return probabilities

    def warm_up(self, batch_size: int) -> None:
        """Answer grey photos, so that the first real request doesn't pay for lazy set-up."""
        grey = np.full((self._preprocessing.size, self._preprocessing.size, 3), 128, np.uint8)
        for n in {1, batch_size}:
            self.predict([grey] * n)
