"""The archive's entry point; TorchServe wants exactly one class in this file.

A batch is a list of requests of different clients. Each is read for itself, so that a bad photo costs
its own sender a 4xx answer and nobody else anything; what is readable goes through the network in one
batch. An answer:

    {"predicted": "Flying Birds", "confidence": 0.97, "probabilities": {...}, "model_version": "1.0"}
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handler.answers import Photo, Request, respond, server_timing
from handler.budget import BatchBudget, Prices, too_busy
from handler.front_end import take_bodies_as_they_come
from handler.metrics import HandlerMetrics
from handler.quiesce import hold
from handler.request_parsing import (
    check_pixels,
    id_of_the_gate,
    is_describe,
    is_explain,
    read_request,
)
from handler.settings import read_settings
from model.bundle import ModelSpec, read_bundle
from model.engines import FOLDER, choose_engine
from model.errors import FlyobjError, PhotoError, PhotoTooSlow
from model.files import read_json
from model.formats import format_of
from model.limits import PhotoLimits
from model.malloc import return_memory
from model.predictor import Predictor

logger = logging.getLogger(__name__)


class FlyingObjectsHandler:
    """One worker's model."""

    def initialize(self, context: Any) -> None:
        """Load the bundle beside this file, check its golden answers, warm up.

        Raises:
            FlyobjError: the model would answer differently from training; TorchServe then doesn't
                let the worker become READY.
        """
        started = time.monotonic()
        take_bodies_as_they_come()
        return_memory()
        self._settings = read_settings(context.model_yaml_config)
        properties = context.system_properties
        threads = self._settings.threads
        folder = Path(properties["model_dir"]) / "bundle"
        bundle = read_bundle(folder)
        engines, device = folder.parent / FOLDER, _device(properties.get("gpu_id"))
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
        self._description = self._describe_model(bundle.spec, folder, engine.description)
        self._batch_size = int(properties.get("batch_size") or 1)
        self._prices = Prices(self._predictor.warm_up(self._batch_size))
        logger.info("worker warm after %.1f s on %s", time.monotonic() - started, engine.description)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one entry for each request, in order."""
        started = time.perf_counter()
        budget = BatchBudget(self._settings.limits, self._prices, self._batch_size)
        requests = [self._receive(row, index, context) for index, row in enumerate(data)]
        photos = [photo for request in requests if request for photo in request.photos]
        for photo, limits in budget.allot([request for request in requests if request]):
            self._read(photo, limits)
        decoded = time.perf_counter()
        readable = [photo for photo in photos if photo.pixels is not None]
        for start in range(0, len(readable), self._batch_size):  # requests may hold several photos
            self._answer(readable[start : start + self._batch_size])
        inferred = time.perf_counter()
        timing = server_timing(decoded - started, inferred - decoded)
        headers = {"Server-Timing": timing, "X-Model-Version": self._version}  # the gate's log has that
        answers = [
            respond(context, index, request, headers) if request else self._describe(context, index)
            for index, request in enumerate(requests)
        ]
        ended = time.perf_counter()
        self._metrics.batch(len(data), photos, decoded - started, inferred - decoded, ended - started)
        return answers

    def _receive(self, row: Mapping[str, Any], index: int, context: Any) -> Request | None:
        """Read one request; None if it asks for a description."""
        request_id = context.get_request_id(index)
        try:
            headers = context.get_all_request_header(index)
            request_id = id_of_the_gate(headers) or request_id
            if is_describe(row, headers):
                hold(headers)
                return None
            request = read_request(row, headers, self._settings.max_photos)
            check_pixels(request.photos, self._settings.limits)
            for photo in request.photos:
                photo.explain, photo.request_id = is_explain(headers), request_id
                if isinstance(photo.content, Exception):
                    self._fail(photo, photo.content)
            return request
        except Exception as error:  # one request's surprise must not fail the batch
            photo = Photo(request_id=request_id)
            self._fail(photo, error)
            return Request([photo])

    def _read(self, photo: Photo, limits: PhotoLimits) -> None:
        """Decode and resize one photo, or answer what is wrong with it."""
        try:
            content, photo.content = photo.content, b""  # no longer needed once it is decoded
            if isinstance(content, Exception):
                raise content
            photo.format = format_of(content)
            photo.pixels = self._predictor.prepare(content, limits)
        except PhotoTooSlow as error:
            less = limits.max_cpu_s < self._settings.limits.max_cpu_s
            self._fail(photo, too_busy(limits.max_cpu_s) if less else error)
        except Exception as error:
            self._fail(photo, error)

    def _answer(self, photos: Sequence[Photo]) -> None:
        """Put readable photos through the network; if they fail together, one by one."""
        pixels = [photo.pixels for photo in photos if photo.pixels is not None]
        try:
            found = self._predictor.answer(pixels, [photo.explain for photo in photos])
            for photo, prediction in zip(photos, found, strict=True):
                photo.succeed(prediction, self._predictor.classes, self._version)
        except Exception as error:
            if len(photos) == 1:
                self._fail(photos[0], error)
                return
            for photo in photos:
                self._answer([photo])

    def _describe_model(self, spec: ModelSpec, bundle: Path, engine: str) -> dict[str, Any]:
        """Describe the model, for `GET /models/NAME/VERSION?customized=true`.

        `metrics` is None where the bundle was packaged before it was evaluated.
        """
        metrics = bundle / "metrics.json"
        limits = {**asdict(self._settings.limits), "max_photos": self._settings.max_photos}
        return {
            "classes": list(spec.classes),
            "input_size": spec.preprocessing.size,  # pixels, a square
            "formats": list(limits.pop("formats")),
            "limits": limits,
            "calibration": asdict(spec.calibration),
            "metrics": read_json(metrics) if metrics.is_file() else None,
            "data_fingerprint": spec.data_fingerprint,
            "architecture": spec.architecture,
            "precision": spec.precision,
            "engine": engine,
            "created": spec.created,
            "code_version": spec.code_version,
        }

    def _describe(self, context: Any, index: int) -> dict[str, Any]:
        context.set_response_content_type(index, "application/json")
        context.set_response_status(200, "OK", index)
        return self._description

    def _fail(self, photo: Photo, error: Exception) -> None:
        """Answer with an error; one that isn't the sender's fault is logged with the request's id."""
        if not isinstance(error, PhotoError):
            logger.error("request %s failed", photo.request_id, exc_info=error)
        photo.fail(error)


def _device(gpu: Any) -> str:
    """Name the device of a worker, which TorchServe gives the number of a GPU, or None."""
    if gpu is None:
        return "cpu"
    import torch

    return f"cuda:{gpu}" if torch.cuda.is_available() else "cpu"
