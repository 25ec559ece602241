"""Locust users that send photos and check every answer.

    locust -f loadtest/locustfile.py --headless --users 8 --run-time 20s

Everything of Locust's manual works; the options of this file are at the end of `locust --help -f ...`.
Without --run-time a headless run ends after a minute. The token is read from the server's key file.
"""

import json
import math
import random
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task
from locust.exception import StopTest

DEFAULT_RUN_TIME_S = 60
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
MAX_PHOTOS = 200  # kept in memory, evenly spread over the folder


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add this file's options to Locust's."""
    group = parser.add_argument_group("flying-objects")
    group.add_argument("--photos", default="runs/demo/data/test", help="Folder of CLASS/ photos")
    group.add_argument("--key-file", default="runs/server/key_file.json", help="TorchServe's tokens")
    group.add_argument("--model-version", default="", help="Version to ask; the default one if empty")


@events.init.add_listener
def bound_run_time(environment: Any, **_: Any) -> None:
    """A headless run that nobody bounded ends by itself."""
    options = environment.parsed_options
    if options and options.headless and not options.run_time:
        options.run_time = DEFAULT_RUN_TIME_S


@events.test_start.add_listener
def read_inputs(environment: Any, **_: Any) -> None:
    """Read photos, class names and token once for all users, or say what is missing."""
    options = environment.parsed_options
    folder, key_file = Path(options.photos), Path(options.key_file)
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise StopTest(f"no photos under {str(folder)!r}; give --photos DIR")
    step = math.ceil(len(found) / MAX_PHOTOS)
    PhotoUser.photos = [p.read_bytes() for p in found[::step]]
    PhotoUser.classes = {p.parent.name for p in found if p.parent != folder}
    try:
        PhotoUser.token = json.loads(key_file.read_text())["inference"]["key"]
    except (OSError, ValueError, KeyError) as error:
        raise StopTest(f"no token in {str(key_file)!r} ({error}); give --key-file FILE") from error


class PhotoUser(FastHttpUser):
    """A client that sends one photo after the other, as fast as it is answered."""

    host = "http://127.0.0.1:8080"
    wait_time = constant(0)
    photos: list[bytes]
    classes: set[str]
    token: str

    @task
    def predict(self) -> None:
        """Send a photo as a raw body and check the answer."""
        version = self.environment.parsed_options.model_version
        with self.client.post(
            f"/predictions/flying_objects{'/' + version if version else ''}",
            data=random.choice(self.photos),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "image/jpeg"},
            name="predict",
            catch_response=True,
        ) as response:
            if wrong := what_is_wrong(response.status_code, response.text, self.classes):
                response.failure(wrong)


def what_is_wrong(status: int, body: str | None, classes: set[str]) -> str | None:
    """Say what is wrong with an answer, or None. Empty `classes` stand for any names."""
    if status != 200:
        return f"status {status}"
    try:
        answer = json.loads(body or "")
        predicted, probabilities = answer["predicted"], answer["probabilities"]
        total = sum(probabilities.values())
        best = max(probabilities, key=probabilities.__getitem__)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"no answer of ours ({type(error).__name__})"
    if classes and set(probabilities) != classes:
        return f"classes {sorted(probabilities)} instead of {sorted(classes)}"
    if abs(total - 1) > 1e-3:
        return f"probabilities sum to {total:.4f}"
    if predicted != best:
        return f"predicted {predicted!r}, but {best!r} is more probable"
    return None
