"""The handler's own metrics; `metrics.yaml` declares them to the server.

Each line written costs the worker and the server some microseconds, so counts are added up over a batch
first. A metric that can't be written never fails a request.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ts.metrics.metric_type_enum import MetricTypes

from handler.answers import Photo

logger = logging.getLogger(__name__)

BATCHES = "flyobj_batches"
COUNTERS = (BATCHES, "flyobj_photos", "flyobj_errors", "flyobj_predictions")
HISTOGRAMS = (
    "flyobj_decode_seconds",
    "flyobj_inference_seconds",
    "flyobj_handler_seconds",
    "flyobj_confidence",
    "flyobj_novelty",
)
# TorchServe's front end takes a metric's line apart at these.
_SEPARATORS = str.maketrans(dict.fromkeys(",:|#[]\n\r", "_"))


class HandlerMetrics:
    """Writes what a batch was like to TorchServe's metric cache."""

    def __init__(self, cache: Any, model: str, version: str) -> None:
        """Take TorchServe's metric cache; None writes nothing."""
        self._labels = [model, version]
        self._metrics: dict[str, Any] = {}
        if cache is None:
            return
        kinds = {MetricTypes.COUNTER: COUNTERS, MetricTypes.HISTOGRAM: HISTOGRAMS}
        for kind, names in kinds.items():
            for name in names:
                try:
                    self._metrics[name] = cache.get_metric(name, kind)
                except Exception as error:  # the server's metrics file doesn't declare it
                    logger.warning("metric %s is off: %s", name, error)

    def batch(
        self, n_requests: int, photos: Sequence[Photo], decode_s: float, infer_s: float, handle_s: float
    ) -> None:
        """Write one batch of `n_requests` with these photos; times are of the whole batch."""
        if not self._metrics:
            return
        try:
            self._write(BATCHES, 1, str(n_requests))
            self._write("flyobj_decode_seconds", decode_s)
            self._write("flyobj_handler_seconds", handle_s)
            good = [photo for photo in photos if photo.status == 200]
            if good:
                self._write("flyobj_inference_seconds", infer_s)
            for photo in good:
                self._write("flyobj_confidence", photo.answer["confidence"])
                if "novelty" in photo.answer:
                    self._write("flyobj_novelty", photo.answer["novelty"])
            self._count("flyobj_photos", [photo.format or "other" for photo in photos])
            self._count("flyobj_predictions", [photo.answer["predicted"] for photo in good])
            errors = [photo.answer["type"] for photo in photos if photo.status != 200]
            self._count("flyobj_errors", errors)
        except Exception as error:
            logger.warning("metrics of a batch failed: %s", error)

    def _count(self, name: str, labels: Sequence[str]) -> None:
        for label, n in Counter(labels).items():
            self._write(name, n, label.translate(_SEPARATORS))

    def _write(self, name: str, value: float, *labels: str) -> None:
        if name in self._metrics:
            self._metrics[name].add_or_update(value, [*self._labels, *labels])
