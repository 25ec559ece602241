"""What all kinds of clients send at once, at a steady rate: photos of every format, bad and costly ones.

Photos are compared with the bundle's own answers, as in `benchmarks.reliability.fuzz`. Others open
connections and drop them: in the middle of a body, or before the answer.
"""

import random
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

import httpx

from benchmarks.reliability.corpus import Case
from benchmarks.reliability.hostile import mutations
from benchmarks.reliability.judge import FuzzTally, Judge
from loadtest.background import Background
from model.limits import RGB

GOOD_SHARE = 0.9
_RECONNECT_S = 60.0
_BUSY = '"TooBusy"'  # beside costly bodies, for now
_TRIES, _RETRY_S = 10, 1.0
_NEW_TOKEN = "InvalidKeyException"  # the token was replaced; the next one is there


class MixedCases:
    """Good cases and bad ones without end, and one of `costly` after `every` others."""

    def __init__(self, judge: Judge, photo: RGB) -> None:
        """Make what the bad ones are made from, which takes most of a minute."""
        self.costly: Sequence[Case] = ()
        self.every = 0
        self._good, self._number = judge.good, 0
        self._rng = random.Random(0)
        self._bad = mutations(photo, self._rng)
        next(self._bad)

    def next(self) -> Case:
        """Return the next case."""
        self._number += 1
        if self.costly and self._number % self.every == 0:
            return self._rng.choice(self.costly)
        return self._rng.choice(self._good) if self._rng.random() < GOOD_SHARE else next(self._bad)


class Mix(Background):
    """Clients that send cases from the start of a `with` to its end, `rate` a second or all they can."""

    def __init__(self, judge: Judge, cases: MixedCases, rate: float | None, clients: int) -> None:
        """Prepare; nothing is sent yet. Requests are due at random, whatever became of those before."""
        self.tally = FuzzTally()
        self.asked_again = 0
        self.behind_s = 0.0  # how late the latest request was sent
        self._judge, self._cases, self._rate = judge, cases, rate
        self._rng, self._due = random.Random(1), time.monotonic()
        self._lock = threading.Lock()
        super().__init__([self._client] * clients)

    def __enter__(self) -> Self:
        """Begin to send."""
        self._due = time.monotonic()
        return super().__enter__()

    def _client(self) -> None:
        while not self._over.is_set():
            with self._judge.clients() as http:
                until = time.monotonic() + _RECONNECT_S
                while time.monotonic() < until and not self._over.is_set():
                    case = self._next()
                    status, wrong = self._ask(http, case)
                    if _NEW_TOKEN in (wrong or ""):
                        break
                    self.tally.add(case, status, wrong)

    def _ask(self, http: httpx.Client, case: Case) -> tuple[int, str | None]:
        """Ask, and again where a good photo is refused for now, as its `Retry-After` says."""
        for left in range(_TRIES - 1, -1, -1):
            status, wrong = self._judge.ask(http, case)
            if case.photo is None or _BUSY not in (wrong or "") or not left:
                break
            self.asked_again += 1
            self._over.wait(_RETRY_S)
        return status, wrong

    def _next(self) -> Case:
        """Take the next case and wait until it is due."""
        with self._lock:
            case = self._cases.next()
            if self._rate:
                self._due += self._rng.expovariate(self._rate)
            due = self._due
        if self._rate:
            late_s = time.monotonic() - due
            self.behind_s = max(self.behind_s, late_s)
            self._over.wait(max(0.0, -late_s))
        return case


class Droppers(Background):
    """A client that breaks its connections off, one every `pause_s`, in a `with`; `dropped` counts."""

    def __init__(self, url: str, token: str, body: bytes, pause_s: float) -> None:
        """Prepare; nothing is sent yet."""
        self.dropped = 0
        self._address = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        head = (
            f"POST /predictions/flying_objects HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        )
        self._request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
        self._pause_s = pause_s
        super().__init__([self._drop])

    def _drop(self) -> None:
        while not self._over.wait(self._pause_s):
            part = len(self._request) if self.dropped % 3 == 0 else len(self._request) // 2
            with suppress(OSError), socket.create_connection(self._address, timeout=5) as one:
                one.sendall(self._request[:part])
                if self.dropped % 2:  # a reset instead of an end
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.dropped += 1
