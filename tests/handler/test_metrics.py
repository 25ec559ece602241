"""The handler's metrics in TorchServe's own cache, from the file that the server reads."""

import logging
import re
import warnings
from pathlib import Path

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

import handler
from handler.answers import Photo
from handler.metrics import COUNTERS, HISTOGRAMS, HandlerMetrics
from model.errors import UnreadableImage

ALL = {*COUNTERS, *HISTOGRAMS}


@pytest.fixture
def cache() -> MetricsCacheYamlImpl:
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves it open
        return MetricsCacheYamlImpl(str(Path(handler.__file__).with_name("metrics.yaml")))


def items() -> list[Photo]:
    good = [Photo(format="JPEG", answer={"predicted": "a, or b", "confidence": 0.5}) for _ in range(2)]
    bad = Photo(format=None)
    bad.fail(UnreadableImage("half"))
    return [*good, bad]


def written(caplog: pytest.LogCaptureFixture) -> list[tuple[str, float, str]]:
    """Take the lines apart as TorchServe's front end does."""
    line = re.compile(r"\[METRICS\](\w+)\.\w+:([0-9.e-]+)\|#([^|]*)\|#type:\w+\|#hostname:[^,]+,\d+")
    found = [line.fullmatch(record.getMessage()) for record in caplog.records]
    return [(match[1], float(match[2]), match[3]) for match in found if match]


def test_a_batch(cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture) -> None:
    cache.initialize_cache()
    metrics = HandlerMetrics(cache, "m", "1.2")
    with caplog.at_level(logging.INFO):
        metrics.batch(3, items(), 0.1, 0.2, 0.4)
    own = "model_name:m,model_version:1.2"
    assert written(caplog) == [
        ("flyobj_batches", 1, f"{own},batch_size:3"),
        ("flyobj_decode_seconds", 0.1, own),
        ("flyobj_handler_seconds", 0.4, own),
        ("flyobj_inference_seconds", 0.2, own),
        ("flyobj_confidence", 0.5, own),
        ("flyobj_confidence", 0.5, own),
        ("flyobj_photos", 2, f"{own},format:JPEG"),
        ("flyobj_photos", 1, f"{own},format:other"),
        ("flyobj_predictions", 2, f"{own},class:a_ or b"),
        ("flyobj_errors", 1, f"{own},type:UnreadableImage"),
    ]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_without_the_metrics_warnings_and_nothing_else(
    cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    HandlerMetrics(cache, "m", "1.0").batch(3, items(), 0, 0, 0)  # a cache that wasn't filled
    assert {name for name in ALL if f"metric {name} is off" in caplog.text} == ALL


def test_a_metric_that_fails_costs_a_warning(
    cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    cache.initialize_cache()
    metrics = HandlerMetrics(cache, "m", "1.0")
    metrics.batch(1, [Photo(answer={})], 0, 0, 0)
    assert "metrics of a batch failed: 'confidence'" in caplog.text


def test_outside_a_server_there_are_none(caplog: pytest.LogCaptureFixture) -> None:
    HandlerMetrics(None, "m", "1.0").batch(3, items(), 0, 0, 0)
    assert caplog.text == ""
