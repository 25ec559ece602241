"""Requests that a server answers before it is called ready, so that its first clients find Java warm.

Java compiles what is often called while it runs; until it has, an answer costs it several times the
CPU. The requests are real ones with a photo of one pixel: they take the whole way and cost little more
than the network. They count in the server's metrics.
"""

import io
import time
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from serving.client import Client

CLIENTS = 16
REQUESTS = 600
MOST_S = 5.0


def warm_up(client: Client, requests: int = REQUESTS, most_s: float = MOST_S) -> int:
    """Send `requests`, but for no longer than `most_s`; returns how many were answered.

    A server that can't answer is found out by those who check it, so errors end this and nothing else.
    """
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "gray").save(file, "PNG")
    photo, until = file.getvalue(), time.monotonic() + most_s

    def ask(n: int) -> int:
        for asked in range(n):
            if time.monotonic() > until:
                return asked
            client.predict(photo)
        return n

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(ask, [requests // CLIENTS] * CLIENTS))
