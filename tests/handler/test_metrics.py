"""The handler's metric in TorchServe's own cache, from the file that the server reads."""

import logging
import warnings
from pathlib import Path

import pytest
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

import handler
from handler.metrics import BATCHES, BatchMetrics


@pytest.fixture
def cache() -> MetricsCacheYamlImpl:
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # it leaves it open
        return MetricsCacheYamlImpl(str(Path(handler.__file__).with_name("metrics.yaml")))


def test_each_batch_is_counted_under_its_size(
    cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    cache.initialize_cache()
    with caplog.at_level(logging.INFO):
        BatchMetrics(cache, "m", "1.2").batch(8)
    (line,) = [r.getMessage() for r in caplog.records if BATCHES in r.getMessage()]
    assert f"{BATCHES}.Count:1" in line
    assert "model_name:m,model_version:1.2,batch_size:8" in line
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_without_the_metric_a_warning_and_nothing_else(
    cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    BatchMetrics(cache, "m", "1.0").batch(1)  # a cache that wasn't filled
    assert f"metric {BATCHES} is off" in caplog.text


def test_outside_a_server_there_is_none(caplog: pytest.LogCaptureFixture) -> None:
    BatchMetrics(None, "m", "1.0").batch(1)
    assert caplog.text == ""
