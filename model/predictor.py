"""A bundle ready to answer: bytes of photos in, probabilities out.

Evaluation, the golden answers and the handler all go through here; it is the whole path of promise 1:
`decode_photo -> resize -> engine (normalize -> network) -> calibration`.
"""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.answers import as_probabilities
from model.bundle import Bundle
from model.calibration import Rows
from model.engines import Engine, reference_engine
from model.errors import FlyobjError
from model.golden import Golden, difference
from model.limits import DEFAULT_LIMITS, RGB, PhotoLimits
from model.pictures import Heatmap


class Predictor:
    """A bundle and what runs it."""

    def __init__(
        self, bundle: Bundle, engine: Engine | None = None, limits: PhotoLimits = DEFAULT_LIMITS
    ) -> None:
        """Run `bundle` on `engine`, by default the reference, which gives golden answers."""
        self.classes = bundle.spec.classes
        self.engine = engine or reference_engine(bundle)
        self.limits = limits
        self._bundle = bundle
        self._preprocessing = bundle.spec.preprocessing
        self._calibration = bundle.spec.calibration

    def prepare(self, photo: bytes | bytearray, limits: PhotoLimits | None = None) -> RGB:
        """Decode and resize one photo to (S, S, 3) uint8; raises `PhotoError`."""
        return self._preprocessing.load(photo, limits or self.limits)

    def predict(self, photos: Sequence[RGB]) -> Rows:
        """Answer N prepared photos with (N, classes) probabilities."""
        return self._calibration.probabilities(self.scores(photos))

    def scores(self, photos: Sequence[RGB]) -> Rows:
        """Answer N prepared photos with (N, classes) log-probabilities, before calibration."""
        return self.engine(np.stack(photos))

    def name(self, row: npt.NDArray[np.float32]) -> str:
        """Name the best class of a (classes,) row of probabilities, or "unknown"."""
        return self._calibration.name(self.classes, row)

    def explain(self, photos: Sequence[RGB]) -> list[Heatmap]:
        """Answer N prepared photos with the (S/32, S/32) heat of each one's best class.

        PyTorch does it, whatever the engine: it takes gradients.
        """
        import torch

        from model.explain import grad_cam

        network = self._bundle.network
        device = next(network.parameters()).device
        batch = torch.from_numpy(self._preprocessing.normalize(np.stack(photos)))  # (N, S, S, 3)
        return list(grad_cam(network, batch.permute(0, 3, 1, 2).to(device)).cpu().numpy())

    def check(self, golden: Sequence[Golden]) -> None:
        """Answer the golden photos one by one.

        Raises:
            FlyobjError: an answer differs from training's; the message is one line.
        """
        wrong = []
        for photo in golden:
            row = self.predict([self.prepare(photo.photo, DEFAULT_LIMITS)])[0]
            probabilities = as_probabilities(self.classes, row)
            answer = {"predicted": self.name(row), "probabilities": probabilities}
            if found := difference(photo, answer):
                wrong.append(found)
        if wrong:
            raise FlyobjError(
                f"the model answers {len(wrong)} of {len(golden)} golden photos differently from "
                f"training, so it is not served: {'; '.join(wrong)}"
            )

    def warm_up(self, batch_size: int) -> float:
        """Answer grey photos in batches of every size, so that no request pays for lazy set-up.

        Returns:
            Seconds of CPU that a photo of the largest batch takes.
        """
        grey = np.full((self._preprocessing.size, self._preprocessing.size, 3), 128, np.uint8)
        for n in range(1, batch_size + 1):
            self.predict([grey] * n)
        started = time.process_time()
        self.predict([grey] * batch_size)
        return (time.process_time() - started) / batch_size
