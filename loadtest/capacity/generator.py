"""The load generator as its owner sees it: a process that takes orders (`open_loop`)."""

import base64
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import FlyobjError

_SPARE_S = 20  # that a load may take over its schedule and its timeout before it is given up


class GeneratorFailed(FlyobjError):
    """The load generator has ended; the message has its last words."""


@dataclass(frozen=True)
class LoadResult:
    """What came of a schedule; lists have one entry for each arrival that was sent.

    Attributes:
        start: the monotonic clock's time 0 of the schedule, s.
        cpu: cores the generator used while it sent.
        lag_s: how long after its time each was sent.
        latency_s: from the scheduled, not the real, time of sending to the checked answer.
        fault: what was wrong with the answer, or None.
        status: of HTTP; 0 if there was no answer.
    """

    start: float
    cpu: float
    lag_s: Sequence[float]
    latency_s: Sequence[float]
    fault: Sequence[str | None]
    status: Sequence[int]


class Generator:
    """A running load generator; use it in a `with`."""

    def __init__(
        self, port: int, path: str, photos: Sequence[bytes], classes: Sequence[str], timeout_s: float
    ) -> None:
        """Start it; it sends `photos` in turn to `path` on this machine's `port`.

        Args:
            port: where the server listens, on 127.0.0.1.
            path: of the inference address.
            photos: files' bytes.
            classes: that an answer must have.
            timeout_s: after which a request has failed.
        """
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "loadtest.capacity.open_loop"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # Ctrl-C is ours; it ends with its input
        )
        setup = {"port": port, "path": path, "classes": [*classes], "timeout_s": timeout_s}
        self._tell(setup | {"photos": [base64.b64encode(photo).decode() for photo in photos]})

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def __enter__(self) -> "Generator":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def send(self, arrivals: Sequence[float], token: str, max_failed: int | None) -> LoadResult:
        """Send a request at each of `arrivals` (s) and wait for the answers.

        Args:
            arrivals: the schedule, ascending.
            token: the server's inference token.
            max_failed: failures after which it breaks off; None to send all, whatever becomes of them.

        Raises:
            GeneratorFailed: it ended, or took far longer than its schedule.
        """
        bound = (arrivals[-1] if arrivals else 0) + 2 * self._timeout_s + _SPARE_S
        watchdog = threading.Timer(bound, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._tell({"arrivals": [*arrivals], "token": token, "max_failed": max_failed})
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise self._failure()
        return LoadResult(**json.loads(line))

    def _tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failure() from error

    def _failure(self) -> GeneratorFailed:
        code = self._process.wait()
        self._errors.seek(0)
        return GeneratorFailed(f"the load generator ended ({code}): {self._errors.read()[-500:]}")
