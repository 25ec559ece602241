"""The handler's own metrics; `metrics.yaml` declares them to the server.

A metric that can't be written never fails a request.
"""

import logging
from typing import Any

logger = logging.getLogger(__name__)

BATCHES = "flyobj_batches"


class BatchMetrics:
    """Counts batches by their size, so that `batch_size` labels are exact."""

    def __init__(self, cache: Any, model: str, version: str) -> None:
        """Take TorchServe's metric cache; None outside a server."""
        self._labels = [model, version]
        self._batches = None
        if cache is not None:
            try:
                self._batches = cache.get_metric(BATCHES)
            except Exception as error:  # the server's metrics file doesn't declare it
                logger.warning("metric %s is off: %s", BATCHES, error)

    def batch(self, size: int) -> None:
        """Count one batch of `size` requests."""
        if self._batches is not None:
            try:
                self._batches.add_or_update(1, [*self._labels, str(size)])
            except Exception as error:
                logger.warning("metric %s failed: %s", BATCHES, error)
