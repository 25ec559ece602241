"""Every kind of photo and request, good and hostile, through a real TorchServe in shared batches."""

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.reliability.corpus import JSON_TYPE, Case, good_cases
from benchmarks.reliability.costly import json_bodies
from benchmarks.reliability.costly_photos import PHOTOS
from benchmarks.reliability.fuzz import random_cases, run_cases, workers
from benchmarks.reliability.hostile import hostile_cases, truncations
from benchmarks.reliability.judge import FuzzTally, Judge
from model.image import decode_photo
from model.limits import RGB

if TYPE_CHECKING:
    from tests.conftest import Home

CLIENTS = 8


@pytest.fixture(scope="module")
def photo(photos: list[bytes]) -> RGB:
    return decode_photo(photos[0])


@pytest.fixture(scope="module")
def judge(server: "Home", run: Path, photo: RGB) -> Judge:
    with server.client() as client:
        url = f"http://127.0.0.1:{server.port}"
        token = client.tokens.get("inference")
        return Judge(url, lambda: token, run / "bundle", photo, trained=False)


def test_every_kind_gets_the_answer_it_should(server: "Home", judge: Judge, photo: RGB) -> None:
    cases = [*judge.good, *hostile_cases(photo), *truncations(photo)]
    random.Random(0).shuffle(cases)
    tally = FuzzTally()
    with server.client() as client:
        before = workers(client)
        run_cases(judge, cases, tally, CLIENTS)
        assert tally.wrong == []
        assert len(tally.table) > 90
        assert set(workers(client)) == set(before)


def test_random_changes_hurt_nobody(server: "Home", judge: Judge, photo: RGB) -> None:
    tally = FuzzTally()
    with server.client() as client:
        before = workers(client)
        run_cases(judge, random_cases(judge, photo, 1000, seed=1), tally, CLIENTS)
        assert tally.wrong == []
        assert tally.good > 150
        assert sum(tally.statuses.values()) == 1000
        assert set(workers(client)) == set(before)


def test_costly_bodies_hurt_nobody(server: "Home", judge: Judge) -> None:
    """The photos that come with them are answered, by the same workers."""
    kinds = ("BMP, ends of lines", "TIFF, tags that share bytes", "GIF, 8 MB of comments")
    cases = [Case(kind, PHOTOS[kind](), frozenset({413})) for kind in kinds]
    bodies = dict(json_bodies())
    for kind in ("JSON, empty objects", "JSON, deep", "JSON, exponent"):
        cases.append(Case(kind, bodies[kind], frozenset({413, 422}), JSON_TYPE))
    tally = FuzzTally()
    with server.client() as client:
        before = workers(client)
        run_cases(
            judge, [case for i in range(4) for case in (*cases, *judge.good[i::4])], tally, CLIENTS
        )
        assert tally.wrong == []
        assert tally.good == len(judge.good)
        assert set(workers(client)) == set(before)


def test_the_judge_notices_what_is_wrong(judge: Judge, photo: RGB) -> None:
    """The tests above are worth nothing if it can't tell."""
    other = next(good_cases(np.ascontiguousarray(255 - photo)))
    judge.expected[other.photo] = judge.expected[judge.good[0].photo]
    words = Case("words", b"words", frozenset({400}))
    with judge.clients() as http:
        assert "HTTP 415" in str(judge.ask(http, words))
        assert judge.ask(http, replace(other, same_as_original=False))[1] is not None
        assert judge.ask(http, judge.good[0]) == (200, None)
