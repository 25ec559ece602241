"""Locust users that send photos and check every answer.

    locust -f loadtest/locustfile.py --headless --users 8 --run-time 20s

Everything of Locust's manual works; the options of this file are at the end of `locust --help -f ...`.
Without --run-time a headless run ends after a minute. The token is read from the server's key file.
"""

import json
import logging
import math
import random
import sys
from pathlib import Path
from typing import Any, NoReturn

from locust import FastHttpUser, constant, events, task
from locust.runners import MasterRunner

from loadtest.answers import what_is_wrong

logger = logging.getLogger(__name__)

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
def prepare(environment: Any, **_: Any) -> None:
    """Bound a headless run that nobody bounded, and read photos and class names once for all users."""
    options = environment.parsed_options
    if options.headless and not options.run_time:
        options.run_time = DEFAULT_RUN_TIME_S
    if isinstance(environment.runner, MasterRunner):
        return  # its workers send the photos
    folder = Path(options.photos)
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        give_up(f"no photos under {str(folder)!r}; give --photos DIR")
    step = math.ceil(len(found) / MAX_PHOTOS)
    PhotoUser.photos = [p.read_bytes() for p in found[::step]]
    PhotoUser.classes = {p.parent.name for p in found if p.parent != folder}
    read_token(options.key_file)


def read_token(key_file: str) -> str:
    """Read the inference token that TorchServe wrote."""
    try:
        token: str = json.loads(Path(key_file).read_text())["inference"]["key"]
    except (OSError, ValueError, KeyError) as error:
        give_up(f"no token in {key_file!r} ({error}); give --key-file FILE")
    return token


def give_up(why: str) -> NoReturn:
    """End Locust with exit code 2; it would log any other exception and go on."""
    logger.error(why)
    sys.exit(2)


class PhotoUser(FastHttpUser):
    """A client that sends one photo after the other, as fast as it is answered."""

    host = "http://127.0.0.1:8080"
    wait_time = constant(0)
    photos: list[bytes]
    classes: set[str]
    token: str

    def on_start(self) -> None:
        """Read the token anew for each test: it runs out after an hour."""
        self.token = read_token(self.environment.parsed_options.key_file)

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
