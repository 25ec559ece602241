"""No server at all: the classifier in a loop, the limit that a server of as many processes can reach.

Reads lines of JSON, `{"photos": FOLDER, "batch": 8, "seconds": 6}`, and answers each with one.
"""

import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.peer_apps.classify import Classify, load_classifier


def measure(classify: Classify, photos: list[bytes], batch: int, seconds: float) -> dict[str, Any]:
    """Answer batches for some seconds; CPU time is this process's alone."""
    latencies, rng = [], random.Random(0)
    cpu, started = time.process_time(), time.monotonic()
    for _ in itertools.count():
        begun = time.monotonic()
        if begun - started >= seconds:
            break
        classify(rng.choices(photos, k=batch))
        latencies.append(time.monotonic() - begun)
    return {
        "answers": len(latencies) * batch,
        "seconds": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu,
        "latencies_s": latencies,
    }


def main() -> None:
    """Obey until standard input ends."""
    classify = load_classifier()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        photos = [path.read_bytes() for path in sorted(Path(order["photos"]).glob("*.jpg"))]
        measured = measure(classify, photos, order["batch"], order["seconds"])
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
