"""Locust users that send photos and check every answer.

    locust -f loadtest/locustfile.py --headless --users 8 --run-time 20s
    locust -f loadtest/locustfile.py --headless --tags mix --shape spike --max-p99-ms 200

Everything of Locust's manual works; the options of this file are at the end of `locust --help -f ...`.
Plain `locust` in the checkout reads locust.conf and opens its page on http://127.0.0.1:8089. Without
`--tags` one photo a request is sent; `--tags mix` sends what clients send, by the weights below. Without
--run-time a headless run ends after a minute. The token is read from the server's key file.
"""

import logging
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import psutil
from locust import FastHttpUser, LoadTestShape, constant, events, tag, task
from locust.runners import WorkerRunner

from loadtest import answers, bodies, thresholds
from loadtest.photos import Photos, photos_to_send
from loadtest.probe import address, authorities, why_not_ready
from loadtest.shapes import SHAPES, Shape, share_at
from loadtest.tokens import KeyFile, authorization, is_refused
from model.errors import InputError
from model.text import printable
from serving.names import CA_FILE, DEFAULT_HOME, DEFAULT_MODEL, DEFAULT_PORT, TOKEN

logger = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)

DEFAULT_HOST = f"http://127.0.0.1:{DEFAULT_PORT}"
DEFAULT_RUN_TIME_S = 60
DEFAULT_USERS = 16  # at the height of a shape
KINDS = ("predict", "form", "several", "version", "explain", "bad")  # and "mix" for all of them
PHOTOS_IN_A_FORM = 3
_SPAWN_RATE = 100  # users a second; Locust advises against more of one process
_PAUSE_S = 0.5  # a server that is gone must not be asked in a tight loop
BOTTLENECK = (
    "the load generator was the bottleneck: a Locust process used over 90 % of a core, so times and "
    "rates are its own; give --processes 2 or fewer users, or send from another machine"
)

Check = Callable[[int, str | None], str | None]


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add this file's options to Locust's."""
    group = parser.add_argument_group("flying-objects")
    photos = "Folder of CLASS/ photos; without it, drawn ones of 320 to 1920 px"
    group.add_argument("--photos", default="", help=photos)
    keys = f"TorchServe's tokens, those of {DEFAULT_HOME} if it is at --host; '' if none are needed"
    group.add_argument("--key-file", help=keys)
    authority = "PEM file of the authority to trust with https; public ones without it"
    group.add_argument("--ca-file", default="", env_var=CA_FILE, help=authority)
    group.add_argument(
        "--model-name", default=DEFAULT_MODEL, help="Name of the model, as given to flyobj archive"
    )
    group.add_argument("--model-version", default="", help="Version to ask; the default one if empty")
    shape = "How the users come and go, in shares of --users and --run-time"
    group.add_argument("--shape", choices=tuple(SHAPES), help=shape)
    thresholds.add_options(group)


@events.init.add_listener
def prepare(environment: Any, **_: Any) -> None:
    """Check what was given, and read photos, classes and token once for all users.

    A master, too: what its workers lack it would wait for in vain.
    """
    options = environment.parsed_options
    if unknown := {*(options.tags or ()), *(options.exclude_tags or ())} - {*KINDS, "mix"}:
        give_up(f"tags {sorted(unknown)} are unknown; allowed are mix, {', '.join(KINDS)}")
    if not options.tags and not options.exclude_tags:
        options.tags = ["predict"]
    bound(environment)
    try:
        host = environment.host or DEFAULT_HOST
        keys = keys_for(host, options.key_file)
        trusted = authorities(options.ca_file)
        PhotoUser.ssl_context_factory = staticmethod(lambda: trusted)
        if options.headless and not isinstance(environment.runner, WorkerRunner):
            asked = options.model_name, options.model_version, options.ca_file
            if why_not := why_not_ready(host, keys.token(), *asked):
                give_up(why_not)
        photos = photos_to_send(Path(options.photos) if options.photos else None)
    except (InputError, FileNotFoundError, ValueError) as error:
        give_up(str(error))
    if photos.classes:
        known = "" if photos.labelled else ", if the model knows any of these folders' names"
        logger.info("answers must name the classes %s%s", sorted(photos.classes), known)
    PhotoUser.photos, PhotoUser.keys = photos, keys
    time.sleep(0.01)  # gevent's clock stood still meanwhile, and the run would be shorter by that


def keys_for(host: str, key_file: str | None) -> KeyFile:
    """Read the tokens that were named, FLYOBJ_TOKEN, or those of the default home's server at `host`."""
    if key_file is None and (token := os.environ.get(TOKEN)):
        return KeyFile(None, fixed=token)
    if key_file is None:
        return KeyFile(DEFAULT_HOME / "key_file.json", host)
    return KeyFile(Path(key_file) if key_file else None)


def bound(environment: Any) -> None:
    """Give a run the shape that was asked for, and an end to a headless one that nobody bounded."""
    options = environment.parsed_options
    if isinstance(environment.runner, WorkerRunner):
        return  # its master says when it is over
    if options.shape:
        environment.shape_class = StagesShape(SHAPES[options.shape], options)
        environment.shape_class.runner = environment.runner
        options.num_users = options.num_users or DEFAULT_USERS
    elif options.headless and not options.run_time:
        options.run_time = DEFAULT_RUN_TIME_S


@events.quitting.add_listener
def judge(environment: Any, **_: Any) -> None:
    """Compare the run with the thresholds; the master does it for its workers."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        return
    limits = thresholds.read_limits(environment.parsed_options)
    wrong = thresholds.breaches(thresholds.read_figures(environment.stats), limits)
    if wrong:
        environment.process_exit_code = 1
    elif limits.failures is not None and not runner.exceptions:
        environment.process_exit_code = 0  # there may be failures, but fewer than are allowed
    if runner.cpu_warning_emitted or getattr(runner, "worker_cpu_warning_emitted", False):
        wrong.append(BOTTLENECK)

    def say_last(**_: Any) -> None:  # below Locust's tables
        for line in wrong:
            logger.error(line)

    environment.events.quit.add_listener(say_last)


def give_up(why: str) -> NoReturn:
    """End Locust with exit code 2; it would log any other exception and go on."""
    logger.error(printable(why))
    for worker in psutil.Process().children():  # of --processes; Locust would leave them waiting for us
        worker.terminate()
    sys.exit(2)


class StagesShape(LoadTestShape):
    """A table as Locust follows it; users and run time are those of its options, or of its web page."""

    abstract = True  # or Locust would follow it unasked, as any shape in a locustfile
    use_common_options = True

    def __init__(self, shape: Shape, options: Any) -> None:
        """Follow `shape`; `options` are Locust's, read again each second."""
        super().__init__()
        self._shape, self._options = shape, options

    def tick(self) -> tuple[int, float] | None:
        """Say how many users there should be now, and how fast they come."""
        seconds = self._options.run_time or self._shape.seconds
        share = share_at(self._shape.stages, self.get_run_time() / seconds)
        if share is None:
            return None
        users = self._options.num_users or DEFAULT_USERS
        return max(1, round(share * users)), _SPAWN_RATE


class PhotoUser(FastHttpUser):
    """A client that sends one request after the other, as fast as they are answered."""

    host = DEFAULT_HOST
    max_redirects = 0  # else the token would go wherever a server says
    insecure = False  # or anybody could pass for the server, and get the token
    wait_time = constant(0)
    photos: Photos
    keys: KeyFile
    default_version: str | None = None  # learnt from answers

    @tag("predict", "mix")
    @task(60)
    def predict(self) -> None:
        """Send a photo as the body."""
        version = self.environment.parsed_options.model_version
        body = self.ask("predict", bodies.single(self.photo()), self.check(version), version)
        if not self.default_version:
            PhotoUser.default_version = answers.version_of(body)

    @tag("form", "mix")
    @task(15)
    def form(self) -> None:
        """Send a photo as the file of a form."""
        version = self.environment.parsed_options.model_version
        self.ask("form", bodies.form([self.photo()]), self.check(version), version)

    @tag("several", "mix")
    @task(8)
    def several(self) -> None:
        """Send some photos in one form."""
        self.ask(
            "several",
            bodies.form([self.photo() for _ in range(PHOTOS_IN_A_FORM)]),
            lambda s, b: answers.what_is_wrong_with_several(
                s, b, self.photos.classes, PHOTOS_IN_A_FORM, self.photos.labelled
            ),
            self.environment.parsed_options.model_version,
        )

    @tag("version", "mix")
    @task(8)
    def version(self) -> None:
        """Ask a version by its name: --model-version, or the one that is the default."""
        version = self.environment.parsed_options.model_version or self.default_version
        self.ask("version", bodies.single(self.photo()), self.check(version), version)

    @tag("explain", "mix")
    @task(4)
    def explain(self) -> None:
        """Ask where the network looked."""
        self.ask(
            "explain",
            bodies.single(self.photo()),
            lambda s, b: answers.what_is_wrong_with_explanation(
                s, b, self.photos.classes, self.photos.labelled
            ),
            self.environment.parsed_options.model_version,
            explain=True,
        )

    @tag("bad", "mix")
    @task(5)
    def bad(self) -> None:
        """Send what must be refused; the right refusal is a success."""
        bad = random.choice(bodies.BAD)
        self.ask(
            "bad",
            bad.body,
            lambda s, b: answers.what_is_wrong_with_refusal(s, b, bad.status, bad.error),
            self.environment.parsed_options.model_version,
        )

    def photo(self) -> bytes:
        """Choose a photo."""
        return random.choice(self.photos.files)

    def check(self, version: str | None) -> Check:
        """Return the check of one photo's answer."""
        own = self.photos
        return lambda s, b: answers.what_is_wrong(s, b, own.classes, version, own.labelled)

    def ask(
        self, name: str, body: bodies.Body, check: Check, version: str | None, explain: bool = False
    ) -> str | None:
        """Make a request, check its answer, and return that.

        If the token was renewed meanwhile, the request is made once more with the new one, and only that
        is counted.
        """
        path = address(self.environment.parsed_options.model_name, version, explain)
        token = self.keys.token()
        response = self.post(path, body, token, name)
        if is_refused(response.status_code, response.text) and (new := self.keys.instead_of(token)):
            response = self.post(path, body, new, name)
        with response:
            status, text = response.status_code, cast("str | None", response.text)
            if wrong := check(status, text):
                response.failure(f"no answer ({self.reason(response)})" if status == 0 else wrong)
            else:
                response.success()
        if status == 0:
            time.sleep(_PAUSE_S)
        return text

    def post(self, path: str, body: bodies.Body, token: str, name: str) -> Any:
        """Send a request; Locust counts it when the response's `with` is left."""
        headers = authorization(token) | {"Content-Type": body.kind}
        return self.client.post(path, data=body.content, headers=headers, name=name, catch_response=True)

    @staticmethod
    def reason(response: Any) -> str:
        """Name the error that took the place of an answer."""
        return type(response.request_meta["exception"]).__name__
