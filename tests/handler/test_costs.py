"""What requests may cost a worker, and what those cost that come with them."""

import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.reliability.corpus import encode
from benchmarks.reliability.costly_photos import PHOTOS
from handler.answers import Photo, Request
from handler.budget import BatchBudget, Prices
from model.decoder import children_cpu_s
from model.decoding_cost import expected_s
from model.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from tests.handler.conftest import Requests, Worker

AssertRight = Callable[[Any, int], None]

# Each body in a process of its own, whose peak and CPU time the system knows.
_MEASURE = """
import json, os, time
from pathlib import Path
from benchmarks.reliability.costly import json_bodies
from handler.request_parsing import read_request
from model.errors import PhotoError
for kind, body in json_bodies():
    if pid := os.fork():
        os.waitpid(pid, 0)
        continue
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again: proc(5)
    begin, started = Path("/proc/self/status").read_text(), time.process_time()
    try:
        status = {type(p.content).__name__ for p in read_request(
            {"body": bytearray(body)}, {"content-type": "application/json"}, 16).photos}
        status = "/".join(sorted(status))
    except PhotoError as error:
        status = f"{error.status} {error}"
    took = time.process_time() - started
    peak, = (int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]),)
    more = (peak - int(begin.split("VmRSS:")[1].split()[0])) / 1024
    print(json.dumps([kind, status, took, more]), flush=True)
    os._exit(0)
"""


@pytest.mark.slow
def test_no_json_costs_more_than_its_own_size() -> None:
    """Built in memory, most of these would take minutes or gigabytes."""
    command = [sys.executable, "-c", _MEASURE]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = {kind: (status, cpu_s, mib) for kind, status, cpu_s, mib in map(json.loads, lines)}
    assert len(rows) > 10
    for kind, (status, cpu_s, mib) in rows.items():
        assert status[:3] in ("413", "422") or status == "bytes", (kind, status)
        assert len(status) < 500, kind
        assert cpu_s < 1, kind
        assert mib < 200, kind
    assert rows["JSON, empty objects"][0].startswith("413 the body has 2000001 JSON objects, 16 photos")
    assert rows["JSON, exponent"][0].startswith("422 top_k inf must be a whole number")


@pytest.mark.slow
def test_a_costly_photo_hurts_only_itself(
    worker: "Worker", requests: "Requests", photos: list[bytes], assert_right: AssertRight
) -> None:
    png = encode(Image.linear_gradient("L"), "PNG")
    batch = [requests.raw(PHOTOS["BMP, ends of lines"]()), requests.raw(photos[0])]
    batch += [requests.raw(PHOTOS["TIFF, tags that share bytes"]()), requests.raw(photos[1])]
    batch += [requests.raw(PHOTOS["GIF, 8 MB of comments"]()), requests.raw(png)]
    started = time.process_time() + children_cpu_s()
    answers = worker.ask(batch)
    assert time.process_time() + children_cpu_s() - started < 3
    assert [status for status, _ in answers] == [413, 200, 413, 200, 413, 200]
    assert_right(answers[1][1], 0)
    assert_right(answers[3][1], 1)
    ((status, answer),) = worker.ask([requests.raw(PHOTOS["BMP, ends of lines"]())])
    assert (status, answer["type"]) == (413, "PhotoTooSlow")
    assert answer["message"].startswith("the photo takes more than 1.5 s of CPU to decode")


def test_a_batch_of_large_photos_takes_no_longer_than_it_may(
    worker: "Worker", requests: "Requests", photos: list[bytes], assert_right: AssertRight
) -> None:
    """Alone each is answered. Together as many are as fit; the others may come again."""
    large, small = (encode(Image.new("RGB", (side, side)), "PNG") for side in (5000, 256))
    ((status, _),) = worker.ask([requests.raw(large)])
    assert status == 200
    started = time.process_time() + children_cpu_s()
    answers = worker.ask([*[requests.raw(large)] * 6, requests.raw(small), requests.raw(photos[0])])
    assert time.process_time() + children_cpu_s() - started < 4
    statuses = [status for status, _ in answers]
    assert statuses[6:] == [200, 200]
    assert_right(answers[7][1], 0)
    assert set(statuses[:6]) <= {200, 413}
    refused = statuses[:6].index(413)
    assert answers[refused][1]["type"] == "TooBusy"
    assert "send it again, or a smaller one" in answers[refused][1]["message"]
    assert worker.headers[refused]["Retry-After"] == "1"
    assert "Retry-After" not in worker.headers[7]


def test_photos_of_one_request_share_a_batchs_budget(
    worker: "Worker", requests: "Requests", photos: list[bytes]
) -> None:
    bomb = PHOTOS["TIFF, tags that share bytes"]()
    files = {f"file{i}": bomb for i in range(8)}
    started = time.process_time() + children_cpu_s()
    (_, several), (status, _) = worker.ask([requests.form(**files), requests.raw(photos[0])])
    assert time.process_time() + children_cpu_s() - started < 3
    assert status == 200
    assert {answer["code"] for answer in several} == {413}


def test_explanations_have_a_price(photos: list[bytes]) -> None:
    asked = [Photo(None, photos[0], explain=True) for _ in range(4)] + [Photo(None, photos[1])]
    budget = BatchBudget(DEFAULT_LIMITS, Prices(answer_s=0.01, explain_s=0.4), batch_size=8)
    for photo, _ in budget.allot([Request([photo]) for photo in asked]):
        photo.pixels = np.zeros((1, 1, 3), np.uint8)  # it was read, so it will be explained
    assert [photo.status for photo in asked] == [200, 200, 413, 413, 200]
    assert asked[2].answer["type"] == "TooBusy"


def test_other_formats_are_refused_where_they_are_not_asked_for(
    start_worker: Callable[..., "Worker"], requests: "Requests", unpacked: object, photos: list[bytes]
) -> None:
    worker = start_worker(unpacked, formats=["JPEG"])
    png = encode(Image.linear_gradient("L"), "PNG")
    (status, answer), (other, _) = worker.ask([requests.raw(png), requests.raw(photos[0])])
    assert (status, answer["type"], other) == (415, "UnsupportedFormat", 200)
    assert answer["message"].endswith("send one of JPEG")
    ((_, described),) = worker.ask([requests.describe()])
    assert described["formats"] == ["JPEG"]


def png_of(width: int, height: int) -> bytes:
    """The start of a PNG, which says its size."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


@pytest.mark.parametrize("megapixels", [6, 8, 8.3, 8.4, 8.5, 8.6, 9, 12, 49])
def test_an_ordinary_photo_may_take_twice_what_it_should(megapixels: float) -> None:
    """Even where what comes with it would use up all that is left."""
    ordinary, others = png_of(1500, 1000), png_of(1000, int(1000 * megapixels))
    photos = [Photo(None, content) for content in (*[others] * 7, ordinary)]
    budget = BatchBudget(DEFAULT_LIMITS, Prices(answer_s=0.01), batch_size=8)
    first, limits = next(budget.allot([Request([photo]) for photo in photos]))
    assert first is photos[-1]
    assert limits.max_cpu_s >= 2 * expected_s(ordinary)


def test_the_first_photo_leaves_what_the_others_may_take() -> None:
    """A batch of two has 0.8 of what one photo may take; twice its share is kept for the second."""
    photos = [Photo(None, png_of(1000, 5000)) for _ in range(2)]
    cost = expected_s(photos[0].content) + 0.01
    assert 4 * cost < 0.8 * DEFAULT_LIMITS.max_cpu_s
    budget = BatchBudget(DEFAULT_LIMITS, Prices(answer_s=0.01), batch_size=1)
    _, limits = next(budget.allot([Request([photo]) for photo in photos]))
    assert limits.max_cpu_s <= 0.8 * DEFAULT_LIMITS.max_cpu_s - 2 * cost
