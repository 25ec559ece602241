"""The archive's entry point; TorchServe wants exactly one class in this file.

A batch is a list of requests of different clients. Each is read for itself, so that a bad photo costs
its own sender a 4xx answer and nobody else anything; what is readable goes through the network in one
batch. An answer:

    {"predicted": "Flying Birds", "confidence": 0.97, "probabilities": {...}, "model_version": "1.0"}
"""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handler.answers import Item, answer_of, error_answer, respond
from handler.metrics import BatchMetrics
from handler.uploads import Upload, read_uploads
from model.bundle import read_bundle
from model.errors import PhotoError
from model.image import Limits
from model.predictor import Predictor

logger = logging.getLogger(__name__)


class FlyingObjectsHandler:
    """One worker's model."""

    def initialize(self, context: Any) -> None:
        """Load the bundle beside this file and warm it up; `context` is TorchServe's."""
        started = time.monotonic()
        settings = (context.model_yaml_config or {}).get("handler", {})
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        torch.set_num_threads(int(settings.get("threads", 1)))
        bundle = read_bundle(Path(properties["model_dir"]) / "bundle")
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        self._predictor = Predictor(bundle, device, Limits(**settings.get("limits", {})))
        self._version = str(context.manifest["model"]["modelVersion"])
        self._metrics = BatchMetrics(context.metrics, context.model_name, self._version)
        self._predictor.warm_up(int(properties.get("batch_size") or 1))
        logger.info("worker warm after %.1f s on %s", time.monotonic() - started, device)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one entry for each request, in order."""
        requests = [
            [self._read(upload, index, context) for upload in self._uploads(row, index, context)]
            for index, row in enumerate(data)
        ]
        readable = [item for items in requests for item in items if item.pixels is not None]
        if readable:
            rows = self._predictor.predict([item.pixels for item in readable if item.pixels is not None])
            for item, row in zip(readable, rows, strict=True):
                item.answer = answer_of(self._predictor.classes, row, self._version, item.file)
        self._metrics.batch(len(requests))
        return [respond(context, index, items) for index, items in enumerate(requests)]

    def _uploads(self, row: Mapping[str, Any], index: int, context: Any) -> list[Upload]:
        return read_uploads(row, context.get_all_request_header(index))

    def _read(self, upload: Upload, index: int, context: Any) -> Item:
        """Decode and resize one photo, or answer what is wrong with it."""
        item = Item(upload.file)
        try:
            item.pixels = self._predictor.prepare(upload.content)
        except PhotoError as error:
            item.fail(error.status, error.phrase, error_answer(error, upload.file))
        except Exception as error:  # one request's surprise must not fail the batch
            logger.exception("request %s failed", context.get_request_id(index))
            item.fail(500, "Internal Server Error", error_answer(error, upload.file))
        return item
