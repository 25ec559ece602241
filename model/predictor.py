"""A bundle ready to answer: bytes of photos in, probabilities out.

Evaluation, the golden answers and the handler all go through here; it is the whole path of promise 1:
`decode_photo -> resize -> engine (normalize -> network) -> calibration`.
"""

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.answers import Prediction, as_answer
from model.bundle import Bundle
from model.engines import Engine, reference_engine
from model.errors import FlyobjError
from model.explain import grad_cam
from model.golden import Golden, difference
from model.limits import DEFAULT_LIMITS, RGB, PhotoLimits
from model.outputs import Outputs, Rows
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
        return self._calibration.probabilities(self.outputs(photos).scores)

    def outputs(self, photos: Sequence[RGB]) -> Outputs:
        """Answer N prepared photos with what the network says, before calibration."""
        return self.engine(np.stack(photos))

    def answer(self, photos: Sequence[RGB], explain: Sequence[bool] = ()) -> list[Prediction]:
        """Answer N prepared photos; `explain` says of each whether to show where the network looked."""
        pixels = np.stack(photos)
        outputs = self.engine(pixels, maps=any(explain))
        rows = self._calibration.probabilities(outputs.scores)
        shares = self._novelty(outputs)
        predictions = [
            Prediction(self._calibration.name(self.classes, row, share), row, share)
            for row, share in zip(rows, shares, strict=True)
        ]
        asked = np.flatnonzero(explain)
        for i, heat in zip(asked.tolist(), self._explain(pixels, outputs, asked), strict=True):
            predictions[i] = predictions[i]._replace(heatmap=heat)
        return predictions

    def _novelty(self, outputs: Outputs) -> Sequence[float | None]:
        """How strange each photo is; None where the model is from before that could be told."""
        if self._bundle.novelty is None or outputs.features is None:
            return [None] * len(outputs.scores)
        return [float(share) for share in self._bundle.novelty.of(outputs.features)]

    def _explain(self, pixels: RGB, outputs: Outputs, asked: "npt.NDArray[np.intp]") -> list[Heatmap]:
        """Show where the network looked in the photos of these numbers."""
        if not asked.size:
            return []
        if outputs.maps is None:  # an older archive's graph
            part = self._reference(pixels[asked], maps=True)
        else:
            part = Outputs(*(one[asked] for one in outputs if one is not None))
        return grad_cam(self._bundle.head, part)

    @cached_property
    def _reference(self) -> Engine:
        return reference_engine(self._bundle)

    def check(self, golden: Sequence[Golden]) -> None:
        """Answer the golden photos one by one.

        Raises:
            FlyobjError: an answer differs from training's; the message is one line.
        """
        wrong = []
        for photo in golden:
            (prediction,) = self.answer([self.prepare(photo.photo, DEFAULT_LIMITS)])
            if found := difference(photo, as_answer(prediction, self.classes)):
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
        gives_maps = self.engine(grey[None], maps=True).maps is not None
        for n in range(1, batch_size + 1):
            self.answer([grey] * n, [gives_maps] * n)
        started = time.process_time()
        self.predict([grey] * batch_size)
        return (time.process_time() - started) / batch_size
