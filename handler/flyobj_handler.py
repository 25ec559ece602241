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

from handler.answers import Item, Reply, explanation, respond, server_timing
from handler.describe import describe
from handler.metrics import HandlerMetrics
from handler.quiesce import hold
from handler.request_parsing import check_pixels, is_describe, is_explain, read_request
from handler.settings import read_settings
from handler.uploads import Upload
from model.bundle import read_bundle
from model.engines import FOLDER, choose_engine
from model.errors import FlyobjError, PhotoError
from model.formats import format_of
from model.predictor import Predictor

logger = logging.getLogger(__name__)


class FlyingObjectsHandler:
    """One worker's model."""

    def initialize(self, context: Any) -> None:
        """Load the bundle beside this file, check its golden answers, warm up.

        Raises:
            FlyobjError: the model would answer otherwise than training did; TorchServe then doesn't
                let the worker become READY.
        """
        started = time.monotonic()
        self._settings = read_settings(context.model_yaml_config)
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        threads = self._settings.threads
        torch.set_num_threads(threads)
        folder = Path(properties["model_dir"]) / "bundle"
        bundle = read_bundle(folder)
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        engines = folder.parent / FOLDER
        engine = choose_engine(bundle, engines, device, threads, self._settings.engine)
        self._predictor = Predictor(bundle, engine, self._settings.limits)
        try:
            self._predictor.check(bundle.golden)
        except FlyobjError as error:
            logger.error("this worker doesn't start: %s", error)
            raise
        self._version = str(context.manifest["model"]["modelVersion"])
        cache = context.metrics if self._settings.metrics else None
        self._metrics = HandlerMetrics(cache, context.model_name, self._version)
        self._description = describe(bundle.spec, folder, engine.description, self._settings)
        self._batch_size = int(properties.get("batch_size") or 1)
        self._predictor.warm_up(self._batch_size)
        logger.info("worker warm after %.1f s on %s", time.monotonic() - started, engine.description)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one entry for each request, in order."""
        started = time.perf_counter()
        replies = [self._receive(row, index, context) for index, row in enumerate(data)]
        items = [item for reply in replies if reply for item in reply.items]
        decoded = time.perf_counter()
        readable = [item for item in items if item.pixels is not None]
        for start in range(0, len(readable), self._batch_size):  # requests may hold several photos
            self._answer(readable[start : start + self._batch_size])
        inferred = time.perf_counter()
        timing = server_timing(decoded - started, inferred - decoded)
        answers = [
            respond(context, index, reply, timing) if reply else self._describe(context, index)
            for index, reply in enumerate(replies)
        ]
        ended = time.perf_counter()
        self._metrics.batch(len(data), items, decoded - started, inferred - decoded, ended - started)
        return answers

    def _receive(self, row: Mapping[str, Any], index: int, context: Any) -> Reply | None:
        """Read one request and decode its photos; None if it asks for a description."""
        request_id = context.get_request_id(index)
        try:
            headers = context.get_all_request_header(index)
            if is_describe(row, headers):
                hold(headers)
                return None
            photos = read_request(row, headers, self._settings.max_photos)
            check_pixels(photos.uploads, self._settings.limits)
            explain = is_explain(headers)
            items = [self._read(upload, explain, request_id) for upload in photos.uploads]
            return Reply(items, photos.shape)
        except Exception as error:  # one request's surprise must not fail the batch
            item = Item(request_id=request_id)
            self._fail(item, error)
            return Reply([item])

    def _read(self, upload: Upload, explain: bool, request_id: str | None) -> Item:
        """Decode and resize one photo, or answer what is wrong with it."""
        item = Item(upload.file, upload.top_k, explain, request_id)
        try:
            if isinstance(upload.content, Exception):
                raise upload.content
            item.format = format_of(upload.content)
            item.pixels = self._predictor.prepare(upload.content)
        except Exception as error:
            self._fail(item, error)
        return item

    def _answer(self, items: Sequence[Item]) -> None:
        """Put readable photos through the network; if they fail together, one by one."""
        if not items:
            return
        pixels = [item.pixels for item in items if item.pixels is not None]
        try:
            rows = self._predictor.predict(pixels)
            for item, row in zip(items, rows, strict=True):
                name, classes = self._predictor.name(row), self._predictor.classes
                item.succeed(name, classes, row, self._version)
                if item.explain and item.pixels is not None:
                    (heatmap,) = self._predictor.explain([item.pixels])
                    item.answer["explanation"] = explanation(
                        classes[int(row.argmax())], item.pixels, heatmap
                    )
        except Exception as error:
            if len(items) == 1:
                self._fail(items[0], error)
                return
            for item in items:
                self._answer([item])

    def _describe(self, context: Any, index: int) -> dict[str, Any]:
        context.set_response_content_type(index, "application/json")
        context.set_response_status(200, "OK", index)
        return self._description

    def _fail(self, item: Item, error: Exception) -> None:
        """Answer with an error; one that isn't the sender's fault is logged with the request's id."""
        if not isinstance(error, PhotoError):
            logger.error("request %s failed", item.request_id, exc_info=error)
        item.fail(error)
