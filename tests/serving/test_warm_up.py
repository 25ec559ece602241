"""Warming a real server up."""

import time
from typing import Any

from serving.warm_up import CLIENTS, warm_up


def test_every_request_is_answered(server: Any) -> None:
    with server.client() as client:
        before = sum(size * n for size, n in client.batch_sizes().items())
        assert warm_up(client, 2 * CLIENTS) == 2 * CLIENTS
        assert sum(size * n for size, n in client.batch_sizes().items()) == before + 2 * CLIENTS


def test_it_ends_in_time(server: Any) -> None:
    started = time.monotonic()
    with server.client() as client:
        assert warm_up(client, 10**6, most_s=0.2) < 10**6
    assert time.monotonic() - started < 30
