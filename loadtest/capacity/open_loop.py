"""The program that sends requests by a schedule, in a process of its own.

    python -m loadtest.capacity.open_loop

`loadtest.capacity.generator` starts it and talks to it by lines of JSON: first a `Setup`, then an
order for each load, each answered by its result. It ends with its input.

An arrival gets a greenlet of its own on geventhttpclient, which Locust's FastHttpUser is built on, so
nobody waits for somebody else's answer. A Locust user does, for its own: it asks again when it has been
answered, so a slow server is asked less and measured while it has time (coordinated omission).
"""

import base64
import gc
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import gevent
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from loadtest.answers import what_is_wrong
from loadtest.tokens import authorization

MAX_WAITING = 800  # requests under way; the client looks after its sockets with select(), to 1024
_HOLD_S = 0.01
_AHEAD_S = 0.05  # from an order to its time 0


class OpenLoop:
    """A client that sends by a schedule."""

    def __init__(self, setup: dict[str, Any]) -> None:
        """Take the photos; nothing is sent yet."""
        self.path: str = setup["path"]
        self.timeout_s: float = setup["timeout_s"]
        self.classes = set(setup["classes"])
        self.photos = [base64.b64decode(photo) for photo in setup["photos"]]
        self.client = HTTPClient(
            "127.0.0.1",
            setup["port"],
            concurrency=MAX_WAITING,
            connection_timeout=self.timeout_s,
            network_timeout=self.timeout_s,
        )

    def load(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send a photo at each of `arrivals`, s from the start, and wait until all are answered.

        It breaks off when MAX_WAITING requests are under way or more than `max_failed` have failed. If
        that is None it doesn't: the next ones are sent when there is room.

        Returns:
            `start`, the monotonic clock's time 0; for each arrival that was sent its `lag_s` behind the
            schedule, its `latency_s` from the scheduled time to the checked answer, and the `fault`, if
            any, with the HTTP `status`; `cpu`, cores that this process used while it sent.
        """
        arrivals: Sequence[float] = order["arrivals"]
        limit: int | None = order["max_failed"]
        load = Load(self, order, time.monotonic() + _AHEAD_S)
        gc.collect()
        gc.disable()  # a collection would make some sends late
        begun, cpu_s, sent = time.monotonic(), time.process_time(), []
        for number, arrival in enumerate(arrivals):
            gevent.sleep(max(0.0, load.start + arrival - time.monotonic()))  # lets others run if late
            if limit is not None and (len(load.waiting) >= MAX_WAITING or load.failed > limit):
                break
            while len(load.waiting) >= MAX_WAITING:
                gevent.sleep(_HOLD_S)
            load.waiting.add(number)
            sent.append(gevent.spawn(load.ask, number))
        cpu = (time.process_time() - cpu_s) / (time.monotonic() - begun)
        gevent.joinall(sent, timeout=self.timeout_s)
        gevent.killall(sent)
        gc.enable()
        for number in load.waiting:
            load.end(number, f"no answer within {self.timeout_s:g} s")
        n = len(sent)
        lists = ("lag_s", "latency_s", "fault", "status")
        return {"start": load.start, "cpu": cpu, **{name: getattr(load, name)[:n] for name in lists}}


class Load:
    """What came of each arrival so far."""

    def __init__(self, loop: OpenLoop, order: dict[str, Any], start: float) -> None:
        """Make room for every arrival."""
        self.loop, self.start, self.arrivals = loop, start, order["arrivals"]
        self.headers = authorization(order["token"]) | {"Content-Type": "image/jpeg"}
        self.waiting: set[int] = set()
        self.failed = 0
        n = len(self.arrivals)
        self.lag_s, self.latency_s = [0.0] * n, [0.0] * n
        self.fault: list[str | None] = [None] * n
        self.status = [0] * n

    def ask(self, number: int) -> None:
        """Send the photo of one arrival and check the answer."""
        photo = self.loop.photos[number % len(self.loop.photos)]
        self.lag_s[number] = time.monotonic() - self.start - self.arrivals[number]
        try:
            response = self.loop.client.request("POST", self.loop.path, photo, self.headers)
            status, content = response.status_code, response.read().decode()
            self.status[number], fault = status, what_is_wrong(status, content, self.loop.classes)
        except (OSError, HTTPParseError, ValueError) as error:
            fault = type(error).__name__
        self.waiting.discard(number)
        self.end(number, fault)

    def end(self, number: int, fault: str | None) -> None:
        """Note that an arrival has been answered, or never will be."""
        self.latency_s[number] = time.monotonic() - self.start - self.arrivals[number]
        self.fault[number] = fault
        self.failed += fault is not None


def main() -> None:
    """Serve orders until the input ends."""
    loop = OpenLoop(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        print(json.dumps(loop.load(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
