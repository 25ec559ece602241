"""Holding a version's workers still, so that some can be taken away while none has a request.

TorchServe 0.12 has no way to stop feeding a worker, and says of no worker whether it is busy. Asked to
remove one, it kills it: the requests of its batch are put back into the queue, or answered with 500
"Worker died.", depending on which of two threads wins. So every worker is given something of ours to do:
a description (`?customized=true`), which our handler draws out until it is released
(`handler/quiesce.py`). A worker gets it alone, after the batch before it. Once all of them hold, nothing
of anybody else's is running; requests wait in the queue and are answered after that.

Both sides meet in a folder in the server's temporary folder, so this works on the server's machine only.
A remote server has to be out of its balancer first; then there is nobody's request to hold.
"""

import http.client
import select
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from model.errors import FlyobjError, InputError
from serving.server.client import Client, ServerError, path_of
from serving.server.remote_server import RemoteServer
from serving.server.versions import find_version

HEADER = "X-Flyobj-Pause"
# Workers resume by themselves after 10 s (handler/quiesce.py); what is done in that time takes 50 ms.
_ALL_WITHIN_S = 5.0
_POLL_S = 0.005
_BETWEEN_S = 0.2
_TRIES = 256  # each takes one worker away at least


class WorkersBusy(FlyobjError):
    """The workers didn't come to rest in time; nothing was changed."""


@dataclass(frozen=True)
class WorkerHold:
    """A pause under way."""

    client: Client
    version: str
    calls: tuple[http.client.HTTPConnection, ...]

    def scale_down(self, workers: int) -> None:
        """Take workers away until this many are left.

        The two threads that race for a worker's batch may make TorchServe stumble over it: 500, "job is
        null", with one worker gone and the others of that call still there; so it is asked again.
        Scaled to none at once it would lose sight of those others, so the last one goes by itself.
        """
        for step in (max(1, workers), workers):
            for tries_left in range(_TRIES, -1, -1):
                try:
                    self.client.scale(self.version, step)
                    break
                except ServerError as error:
                    if error.status != 500 or not tries_left:
                        raise

    def unanswered(self) -> int:
        """Count our own descriptions that are held or back in the queue."""
        sockets = [call.sock for call in self.calls]
        answered, _, _ = select.select(sockets, [], [], 0)
        return len(sockets) - len(answered)


@contextmanager
def hold_workers(client: Client, version: str, timeout_s: float) -> Iterator[WorkerHold]:
    """Hold all READY workers of `version` as long as the body runs (for some seconds at most).

    Raises:
        WorkersBusy: they didn't all hold within `timeout_s`.
        FlyobjError: the version's handler doesn't know how to.
        InputError: the server is remote, and may be asked by somebody.
    """
    server = client.server
    if isinstance(server, RemoteServer):
        if not server.drained:
            raise InputError(
                f"workers of version {version} at {server.management} can't be taken away without "
                "losing requests: it is on another machine; give the --proxy that takes it out of the "
                "traffic, or run `flyobj models apply` on that machine"
            )
        yield WorkerHold(client, version, ())
        return
    until = time.monotonic() + timeout_s
    while True:
        with ExitStack() as calls, _pause_folder(server.scratch_folder) as folder:
            if pause := _hold(client, version, folder, calls, until):
                yield pause
                return
        if time.monotonic() > until:
            raise WorkersBusy(
                f"the workers of version {version} couldn't be paused within {timeout_s:g} s; nothing "
                f"was changed, try again when there is less load, or give a longer --timeout"
            )
        time.sleep(_BETWEEN_S)


def _hold(
    client: Client, version: str, folder: Path, stack: ExitStack, until: float
) -> WorkerHold | None:
    """Ask as many descriptions as there are READY workers; None unless all of them hold."""
    found = find_version(client, version)
    ready = found.ready if found else 0
    name = folder.name.rpartition("-")[2]
    calls = [stack.enter_context(_ask_to_hold(client, version, name)) for _ in range(ready)]
    first = None
    while (holding := len(list(folder.iterdir()))) < ready:
        now = time.monotonic()
        first = first or (now if holding else None)
        if now > until or (first and now > first + _ALL_WITHIN_S):
            return None
        if early := select.select([call.sock for call in calls], [], [], 0)[0]:
            response = next(c for c in calls if c.sock in early).getresponse()
            if response.status == 200:
                raise FlyobjError(
                    f"version {version} was packaged before its handler could be paused: its workers "
                    "can't be taken away without losing requests; package the run under another "
                    "--version, deploy and promote that"
                )
            return None  # the queue is full, or a worker died
        time.sleep(_POLL_S)
    again = find_version(client, version)
    if again is None or again.ready != ready:  # one came back and has requests
        return None
    return WorkerHold(client, version, tuple(calls))


@contextmanager
def _ask_to_hold(client: Client, version: str, name: str) -> Iterator[http.client.HTTPConnection]:
    """Send a request for a description and don't wait for the answer."""
    address = client.server.management.removeprefix("http://")
    headers = {**client.headers("management"), HEADER: name}
    with closing(http.client.HTTPConnection(address, timeout=30)) as call:
        try:
            path = path_of("models", client.model, version)
            call.request("GET", f"{path}?customized=true", headers=headers)
        except OSError as error:
            raise FlyobjError(f"the server's management port doesn't answer ({error})") from error
        yield call


@contextmanager
def _pause_folder(scratch: Path) -> Iterator[Path]:
    """Make the folder that workers hold for; when the block ends it goes, and they resume."""
    folder = scratch / f"flyobj-pause-{uuid.uuid4().hex}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise FlyobjError(
            f"the server's temporary folder {str(scratch)!r} can't be used ({error.strerror}); work "
            "on the server's machine, as its user; if the folder is gone, stop and start the server"
        ) from error
    try:
        yield folder
    finally:
        over = folder.with_name(f"{folder.name}-over")
        with suppress(OSError):  # the server has ended and taken its folder along
            folder.rename(over)  # in one step, so that no worker can put its pid into it any later
        shutil.rmtree(over, ignore_errors=True)
