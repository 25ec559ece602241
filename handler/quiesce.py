"""Standing still on request, so that workers can be taken away while none of them has a request.

TorchServe kills a worker that is scaled down or unregistered together with the batch it works on.
Whoever wants to do that first asks for as many descriptions as there are workers, each with the name of
a folder in `X-Flyobj-Pause`. A worker gets a description alone, after the batch before it; it leaves its
pid in that folder and waits until the folder is gone. Meanwhile requests wait in the queue.

A description can only be asked for with the management token, the folder must be there already, and a
pause has an end by itself.
"""

import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADER = "x-flyobj-pause"
PAUSE_S = 10.0  # the longest
_POLL_S = 0.005


def hold(headers: Mapping[str, Any]) -> None:
    """Wait if a description's `headers` ask for it."""
    name = next((str(v) for k, v in headers.items() if k.lower() == HEADER), "")
    if not re.fullmatch("[0-9a-f]{32}", name):
        return
    folder = Path(tempfile.gettempdir()) / f"flyobj-pause-{name}"
    try:
        (folder / str(os.getpid())).touch()
    except OSError:  # it's over already
        return
    until = time.monotonic() + PAUSE_S
    while folder.is_dir() and time.monotonic() < until:
        time.sleep(_POLL_S)
