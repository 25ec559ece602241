"""Trying settings of the server on this machine: what `flyobj tune` runs.

A real TorchServe serves each candidate in turn; the load is a closed loop of clients that check every
answer (`loadtest.closed_loop`), the search is `loadtest.tune.search`.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from loadtest.closed_loop import Endpoint, ExpectedAnswer, expected_answer, put_load
from loadtest.photos import Photos
from loadtest.tune.search import Duel, Goal, Measured, Rung, Settings, candidates, duel, search, space
from loadtest.tune.trial_server import TrialServer, trial_server
from model.errors import FlyobjError, InputError
from serving.archive.build import MODEL_NAME
from serving.archive.model_config import Value
from serving.server.process_tree import cpu_s, processor

WARM_UP_S = 0.5
_UNCOUNTED = 2  # first loads: Java is slower in its first seconds, and that would be the defaults'
ROOM = 2  # candidates up at once; an idle one costs memory alone, some 300 MB a worker
NAMES = {  # in model-config.yaml
    "workers": ("minWorkers", "maxWorkers"),
    "threads": ("handler.threads",),
    "batch_size": ("batchSize",),
    "batch_delay_ms": ("maxBatchDelay",),
    "engine": ("handler.engine",),
}

Told = Callable[[Settings, Measured], None]


@dataclass(frozen=True)
class Plan:
    """How to tune.

    Attributes:
        goal: what is wanted.
        clients: that ask at the same time.
        seconds: of each load.
        count: candidates.
        rounds: of the duel at the end.
        seed: of the candidates that are drawn at random.
    """

    goal: Goal
    clients: int
    seconds: float
    count: int
    rounds: int
    seed: int = 0


@dataclass(frozen=True)
class Tuned:
    """What was found.

    Attributes:
        plan: as it was given.
        cores: of the machine.
        defaults: what the file said before.
        rungs: of the search.
        duel: None if the search found nothing better than the defaults.
    """

    plan: Plan
    cores: int
    defaults: Settings
    rungs: list[Rung]
    duel: Duel | None

    @property
    def best(self) -> Settings:
        """What the search likes best."""
        return next(iter(self.rungs[-1].loads))

    @property
    def choice(self) -> Settings:
        """What to serve with: the best if it has shown that it is, the defaults else."""
        return self.best if self.duel and self.duel.better else self.defaults


class Trials:
    """Candidates on a trial server; what was measured last stays up as long as there is room."""

    def __init__(self, server: TrialServer, plan: Plan, photos: Photos, defaults: Settings) -> None:
        """Take the defaults' answers as the right ones: packaging has held them against training's."""
        self._server, self._plan = server, plan
        self._up: dict[Settings, str] = {}
        version = self._version(defaults)
        self._photos = [(photo, self._expected(photo, version)) for photo in photos.files]
        for _ in range(_UNCOUNTED):
            self.measure(defaults)

    def measure(self, settings: Settings) -> Measured:
        """Put one load on a candidate; one that doesn't start or answers wrongly says why."""
        try:
            version = self._version(settings)
        except FlyobjError as error:
            return Measured(wrong=str(error))
        client = self._server.client
        headers = {"Authorization": f"Bearer {client.token('inference')}"}
        path = f"/predictions/{MODEL_NAME}/{version}"
        endpoint = Endpoint(self._server.port, path, headers=headers)
        put_load(endpoint, self._photos, self._plan.clients, WARM_UP_S)
        before = sum(cpu_s(self._server.process).values())
        load = put_load(endpoint, self._photos, self._plan.clients, self._plan.seconds)
        used = sum(cpu_s(self._server.process).values()) - before
        figures = load.summary(used)
        if load.wrong:
            return Measured(wrong=f"{len(load.wrong)} answers were wrong: {load.wrong[0]}")
        if not load.latencies_s:
            return Measured(wrong="no answers")
        return Measured(figures["per_s"], figures["p50_ms"], figures["p99_ms"], figures["cpu_ms"])

    def _version(self, settings: Settings) -> str:
        """Serve a candidate, in the place of the one that was asked longest ago."""
        version = self._up.pop(settings, None)
        while version is None and len(self._up) >= ROOM:
            self._server.down(self._up.pop(next(iter(self._up))))
        self._up[settings] = version or self._server.up(as_config(settings))
        return self._up[settings]

    def _expected(self, photo: bytes, version: str) -> ExpectedAnswer:
        answer = self._server.client.predict(photo, version)
        found = expected_answer(answer["probabilities"])
        return replace(found, names=found.names | {answer["predicted"]})  # it may be "unknown"


def as_config(settings: Settings) -> dict[str, Value]:
    """Name the settings as `model-config.yaml` does."""
    values = asdict(settings)
    return {name: values[key] for key, names in NAMES.items() for name in names}


def from_config(config: dict[str, Value], where: str) -> Settings:
    """Read the settings from what a `model-config.yaml` says."""
    try:
        values: dict[str, Any] = {key: config[names[0]] for key, names in NAMES.items()}
    except KeyError as error:
        raise InputError(
            f"{where} has no {error}; give it a line of its own, as the file of this checkout has it"
        ) from error
    return Settings(**values)


def tune(archive: Path, plan: Plan, photos: Photos, defaults: Settings, told: Told) -> Tuned:
    """Search, then let the best meet the defaults.

    Args:
        archive: of the model.
        plan: how.
        photos: to send.
        defaults: what is served with now.
        told: is called after each load.

    Raises:
        InputError: it is no archive of ours.
        FlyobjError: the server doesn't start, or not with the defaults.
    """
    cores = len(psutil.Process().cpu_affinity())
    with trial_server(archive) as server:
        trials = Trials(server, plan, photos, defaults)

        def measure(settings: Settings) -> Measured:
            load = trials.measure(settings)
            told(settings, load)
            return load

        engines = ("auto", "torch") if server.has_openvino else ("auto",)
        chosen = candidates(defaults, space(cores, engines), plan.count, plan.seed)
        rungs = search(chosen, measure, plan.goal)
        best, meeting = next(iter(rungs[-1].loads)), None
        if best != defaults:
            meeting = duel(best, defaults, measure, plan.goal, plan.rounds)
    return Tuned(plan, cores, defaults, rungs, meeting)


def as_document(tuned: Tuned) -> dict[str, Any]:
    """Put all that was measured into one JSON document."""
    plan, meeting = tuned.plan, tuned.duel
    document = {
        "goal": asdict(plan.goal),
        "load": {"clients": plan.clients, "seconds": plan.seconds},
        "machine": {"cores": tuned.cores, "processor": processor()},
        "defaults": asdict(tuned.defaults),
        "best": asdict(tuned.best),
        "choice": asdict(tuned.choice),
        "limit_kept": any(
            plan.goal.keeps_limit(loads) for rung in tuned.rungs for loads in rung.loads.values()
        ),
        "rungs": [
            {
                "visits": rung.visits,
                "candidates": [
                    {"settings": asdict(settings), "loads": [_figures(load) for load in loads]}
                    for settings, loads in rung.loads.items()
                ],
            }
            for rung in tuned.rungs
        ],
        "duel": None,
    }
    if meeting:
        document["duel"] = {
            "ratio": round(meeting.ratio, 3),
            "ratios": [round(ratio, 3) for ratio in meeting.ratios],
            "better": meeting.better,
            "best": [_figures(load) for load in meeting.best],
            "defaults": [_figures(load) for load in meeting.defaults],
        }
    return document


def _figures(load: Measured) -> dict[str, Any]:
    """A load without answers has null for its times: JSON knows no infinity."""
    return {key: None if value == math.inf else value for key, value in asdict(load).items()}
