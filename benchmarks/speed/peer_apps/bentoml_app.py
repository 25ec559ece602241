"""BentoML: a batchable service behind two workers; the photo comes in a form."""

import os
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.speed.peer_apps.classify import ENGINE, load_classifier

WORKERS = 2 if os.environ.get(ENGINE) == "ours" else 1


@bentoml.service(workers=WORKERS, traffic={"timeout": 60})
class Classifier:
    """What is queued goes through the network together, as far as BentoML batches it."""

    def __init__(self) -> None:
        """Load the classifier in a worker."""
        self.classify = load_classifier()

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=60_000)
    def predict(self, photos: list[Path]) -> list[dict[str, Any]]:
        """Answer photos; BentoML hands files over by their paths."""
        return self.classify([photo.read_bytes() for photo in photos])
