"""Whether a photo gets the same answer however it is sent, and the one that evaluation saw.

Sends each photo of a split to a running server as a raw body, a form, JSON and KServe V1, several at a
time, and compares every probability with the bundle's own. Exit code 1 if one differs by more
than 0.001, or the accuracy by more than 0.2 points from that of `flyobj evaluate`. The last line
on standard output is one JSON document.

    python -m benchmarks.reliability.same_answer RUN DATA [--split test] [--home runs/server]
"""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.program import parser_of, run
from model.answers import as_probabilities
from model.bundle import read_bundle
from model.files import read_json
from model.golden import TOLERANCE
from model.predictor import Predictor
from serving.names import DEFAULT_HOME
from serving.server import lifecycle
from serving.server.client import Client
from training.data.photos import read_split

ACCURACY_TOLERANCE = 0.002
CLIENTS = 8
Send = Callable[[httpx.Client, bytes], Any]


def ways(url: str, model: str) -> dict[str, Send]:
    """Name the ways to send a photo; each returns its answer."""
    plain, v1 = f"{url}/predictions/{model}", f"{url}/v1/models/{model}:predict"

    def text(photo: bytes) -> str:
        return base64.b64encode(photo).decode()

    return {
        "raw": lambda http, photo: http.post(plain, content=photo).json(),
        "form": lambda http, photo: http.post(plain, files={"file1": photo}).json(),
        "json": lambda http, photo: http.post(plain, json={"image": text(photo)}).json(),
        "v1": lambda http, photo: http.post(v1, json={"instances": [{"b64": text(photo)}]}).json()[
            "predictions"
        ][0],
    }


def compare_ways(run_folder: Path, data: Path, split_name: str, home: Path) -> dict[str, Any]:
    """Send every photo of a split in every way."""
    predictor = Predictor(read_bundle(run_folder / "bundle"))
    split = read_split(data, split_name)
    photos = [photo.path.read_bytes() for photo in split.photos]
    truth = [split.classes[photo.label] for photo in split.photos]
    expected = [
        as_probabilities(predictor.classes, predictor.predict([predictor.prepare(photo)])[0])
        for photo in photos
    ]
    running = lifecycle.require(home)
    with Client(running) as client:
        headers, sends = client.headers(), ways(running.inference, client.model)
    report: dict[str, Any] = {"photos": len(photos), "ways": {}}
    for name, send in sends.items():
        with (
            httpx.Client(headers=headers, timeout=60, trust_env=False) as http,
            ThreadPoolExecutor(CLIENTS) as pool,
        ):
            answers = list(pool.map(lambda photo, send=send, http=http: send(http, photo), photos))
        pairs = list(zip(answers, expected, strict=True))
        report["ways"][name] = {
            "accuracy": sum(a["predicted"] == t for a, t in zip(answers, truth, strict=True))
            / len(truth),
            "same_top_1": sum(a["predicted"] == max(e, key=e.__getitem__) for a, e in pairs),
            "largest_difference": max(abs(a["probabilities"][c] - e[c]) for a, e in pairs for c in e),
        }
    report["evaluated_accuracy"] = read_json(run_folder / "evaluation" / "evaluation.json")["accuracy"]
    report["passed"] = all(
        way["largest_difference"] <= TOLERANCE
        and abs(way["accuracy"] - report["evaluated_accuracy"]) <= ACCURACY_TOLERANCE
        for way in report["ways"].values()
    )
    return report


def main() -> None:
    """Read the options and compare."""
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path, help="run that is served and was evaluated")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME)
    a = parser.parse_args()
    run(lambda: compare_ways(a.run, a.data, a.split, a.home))


if __name__ == "__main__":
    main()
