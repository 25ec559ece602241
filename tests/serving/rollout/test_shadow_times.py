"""Which figures `shadow` judges by, on a server that is slow with some photos."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from model.errors import FlyobjError
from serving.rollout import shadow
from serving.server.client import Client
from serving.server.remote_server import RemoteServer

PHOTOS, SLOW_S = 200, 0.15


def entry(version: str) -> dict[str, object]:
    """A version as the management API describes it, as far as it is looked at."""
    figures: dict[str, object] = {"minWorkers": 1, "batchSize": 8, "maxBatchDelay": 5}
    figures |= {"customizedMetadata": {"classes": ["a", "b"]}}
    workers = [{"id": "9000", "status": "READY"}]
    return {"modelVersion": version, "modelUrl": "a.mar", "workers": workers, **figures}


def test_its_p99_is_neither_the_median_nor_the_slowest(
    tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    """Version 2.0 takes longer for 5 of 200 photos: too few for the median, enough for the p99."""
    asked: Counter[str] = Counter()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            last = request.url.path.rsplit("/", 1)[1]
            listed = {"all": ["1.0", "2.0"], "2.0": ["2.0"]}.get(last, ["1.0"])
            return httpx.Response(200, json=[entry(version) for version in listed])
        version = request.url.path.rsplit("/", 1)[1]
        asked[version] += 1
        if version == "2.0" and asked[version] % (PHOTOS // 5) == 6:  # not while it is warmed up
            time.sleep(SLOW_S)
        body = {"predicted": "a", "confidence": 0.9, "probabilities": {"a": 0.9, "b": 0.1}}
        return httpx.Response(200, content=json.dumps(body))

    photos = []
    for number in range(PHOTOS):
        photos.append(tmp_path / f"{number}.jpg")
        photos[-1].write_bytes(jpeg(number, width=16, height=16))
    server = RemoteServer("http://127.0.0.1:1", "http://127.0.0.1:2", str(tmp_path))
    with Client(server, httpx.MockTransport(answer)) as client:
        result = shadow.compare(client, "2.0", None, photos)
    assert result.times.p50_ms < SLOW_S * 1000 <= result.times.p99_ms
    assert result.times_against.p99_ms < SLOW_S * 1000
    assert result.p99_ratio == result.times.p99_ms / result.times_against.p99_ms > 1
    with pytest.raises(FlyobjError, match=re.escape("version 2.0 takes")):
        shadow.require(result, None, 1.0)
