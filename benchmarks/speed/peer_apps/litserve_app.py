"""LitServe: the photo comes in a form, as its manual shows.

With our engine it batches and has two workers, as we do; the manual's form has its defaults.
"""

import os
import sys
from typing import Any

import litserve

from benchmarks.speed.peer_apps.classify import ENGINE, load_classifier


class One(litserve.LitAPI):
    """One photo at a time."""

    def setup(self, device: str) -> None:
        """Load the classifier in a worker."""
        del device
        self.classify = load_classifier()

    def decode_request(self, request: litserve.Request) -> bytes:
        """Take the photo out of the form."""
        content: bytes = request["file"].file.read()
        return content

    def predict(self, x: bytes) -> Any:
        """Answer it."""
        return self.classify([x])[0]


class Batched(One):
    """What is queued goes through the network together; a list stays a list, and is answered by one."""

    def predict(self, x: list[bytes]) -> Any:
        """Answer all."""
        return self.classify(x)


if __name__ == "__main__":
    ours = os.environ[ENGINE] == "ours"
    api = Batched(max_batch_size=8, batch_timeout=0.001) if ours else One()
    workers = 2 if ours else 1
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
