"""No server at all: the classifier in a loop, the limit that a server of as many processes can reach.

    python -m benchmarks.speed.peer_apps.in_process WIDTH BATCH SECONDS

Prints one JSON document; each answer takes as long as its batch.
"""

import json
import random
import sys
import time
from typing import Any

from benchmarks.speed.inputs import draw_photos
from benchmarks.speed.peer_apps.classify import Classify, load_classifier


def measure(classify: Classify, photos: list[bytes], batch: int, seconds: float) -> dict[str, Any]:
    """Answer batches for some seconds; CPU time is this process's alone."""
    latencies, rng = [], random.Random(0)
    classify(photos[:batch])  # the first takes longer
    cpu, started = time.process_time(), time.monotonic()
    while (begun := time.monotonic()) - started < seconds:
        classify(rng.choices(photos, k=batch))
        latencies += [time.monotonic() - begun] * batch
    took, used = time.monotonic() - started, time.process_time() - cpu
    return {"seconds": took, "cpu_s": used, "latencies_s": latencies}


if __name__ == "__main__":
    width, batch, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(measure(load_classifier(), draw_photos(width), batch, seconds)))
