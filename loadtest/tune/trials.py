"""Trying settings of the server on this machine: what `flyobj tune` runs.

A real TorchServe, in a folder that is gone afterwards, serves the candidates as versions. The load is
`loadtest.closed_loop`, which checks every answer.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from loadtest.closed_loop import endpoint_of, expected_answer, put_load
from loadtest.photos import Photos
from loadtest.tune import search
from loadtest.tune.search import Candidate, Duel, Measurement, Trial, TunePlan
from model.errors import FlyobjError, InputError
from model.typed import check_fields
from report.progress import progress
from serving.archive.build import Archive, read_archive
from serving.archive.model_config import Value
from serving.rollout.archive_variant import unpack_variant
from serving.rollout.default_workers import usable_cores
from serving.rollout.readiness import check_golden, wait_ready
from serving.server.client import Client, ServerError
from serving.server.lifecycle import Server
from serving.server.process_tree import cpu_s, processor
from serving.server.temporary import temporary_server

WARM_UP_S = 0.5
_UNCOUNTED = 2  # first loads: Java is slower in its first seconds, and that would be the defaults'
ROOM = 2  # candidates up at once; an idle one costs memory alone, some 400 MB a worker
NAMES = {  # in model-config.yaml
    "workers": ("minWorkers", "maxWorkers"),
    "threads": ("handler.threads",),
    "batch_size": ("batchSize",),
    "batch_delay_ms": ("maxBatchDelay",),
    "engine": ("handler.engine",),
}


@dataclass(frozen=True)
class TuneResult:
    """What was found; `duel` is None if the search found nothing better than the defaults."""

    plan: TunePlan
    cores: int
    processor: str
    defaults: Candidate
    rungs: list[list[Trial]]
    duel: Duel | None

    @property
    def best(self) -> Candidate:
        """What the search likes best."""
        return self.rungs[-1][0].candidate

    @property
    def choice(self) -> Candidate:
        """What to serve with: the best if it has shown that it is, otherwise the defaults."""
        return self.best if self.duel and self.duel.better else self.defaults

    @property
    def limit_kept(self) -> bool:
        """Whether anything kept p99 within the limit."""
        return any(self.plan.keeps_limit(trial) for rung in self.rungs for trial in rung)


class TrialServer:
    """Candidates on a server; what was measured last stays up as long as there is room."""

    def __init__(self, client: Client, server: Server, archive: Archive, plan: TunePlan) -> None:
        """Prepare; nothing is served yet."""
        self._client, self._archive, self._plan = client, archive, plan
        self._process, self._folder = psutil.Process(server.pid), Path(server.home) / "trials"
        client.model = archive.model
        self._up: dict[Candidate, str] = {}
        self._count = 0

    def warm_up(self, photos: Photos, defaults: Candidate) -> None:
        """Take the defaults' answers as the right ones: packaging has compared them with training's."""
        self._photos, version = [], self._serve(defaults)
        for photo in photos.files:
            answer = self._client.predict(photo, version)
            right = expected_answer(answer["probabilities"])
            names = right.names | {answer["predicted"]}  # it may be "unknown"
            self._photos.append((photo, replace(right, names=names)))
        for _ in range(_UNCOUNTED):
            self.measure(defaults)

    def measure(self, candidate: Candidate) -> Measurement:
        """Put one load on a candidate; one that doesn't start or answers wrongly says why."""
        try:
            endpoint = endpoint_of(self._client, self._serve(candidate))
        except FlyobjError as error:
            return Measurement(fault=str(error))
        put_load(endpoint, self._photos, self._plan.clients, WARM_UP_S)
        before = sum(cpu_s(self._process).values())
        load = put_load(endpoint, self._photos, self._plan.clients, self._plan.seconds)
        figures = load.summary(sum(cpu_s(self._process).values()) - before)
        if load.faults or not load.latencies_s:
            return Measurement(fault=f"{len(load.faults)} answers were wrong: {load.faults[:1]}")
        return Measurement(*(figures[name] for name in ("per_s", "p50_ms", "p99_ms", "cpu_ms")))

    def _serve(self, candidate: Candidate) -> str:
        """Return the version that serves a candidate, in the place of the one asked longest ago."""
        version = self._up.pop(candidate, None)
        while version is None and len(self._up) >= ROOM:
            self._remove(self._up.pop(next(iter(self._up))))
        self._up[candidate] = version or self._start(candidate)
        return self._up[candidate]

    def _start(self, candidate: Candidate) -> str:
        self._count += 1
        version = f"{self._count}.0"
        unpack_variant(self._archive, self._folder / version, as_config(candidate), version)
        self._client.register(str(self._folder / version))
        try:
            wait_ready(self._client, version)
            check_golden(self._client, replace(self._archive, version=version))
        except FlyobjError:
            self._remove(version)
            raise
        return version

    def _remove(self, version: str) -> None:
        if others := [other for other in self._client.versions() if other != version]:
            self._client.set_default(others[0])  # the default can't be removed
        with suppress(ServerError):  # one that crashed may be gone already
            self._client.unregister(version)
        shutil.rmtree(self._folder / version)


def as_config(candidate: Candidate) -> dict[str, Value]:
    """Name the settings as `model-config.yaml` does."""
    return {name: getattr(candidate, key) for key, names in NAMES.items() for name in names}


def from_config(config: Mapping[str, Any], where: str) -> Candidate:
    """Read the settings from what a `model-config.yaml` says."""
    if missing := [names[0] for names in NAMES.values() if names[0] not in config]:
        raise InputError(f"{where} has no {missing}; give each a line of its own, as ours has it")
    values = {field: config[names[0]] for field, names in NAMES.items()}
    check_fields(Candidate, values, where, "give it as ours has it")
    return Candidate(**values)


def tune(path: Path, plan: TunePlan, photos: Photos, defaults: Candidate) -> TuneResult:
    """Search for the settings that serve the archive at `path` best, then let them meet the defaults.

    Raises:
        InputError: it is no archive of ours.
        FlyobjError: the server doesn't start, or not with the defaults.
    """
    archive, cores = read_archive(path), usable_cores(os.getpid())
    with zipfile.ZipFile(path) as files:
        engines = ("auto", "torch") if "engines/openvino.xml" in files.namelist() else ("auto",)
    chosen = search.choose(defaults, search.space(cores, engines), plan.candidates)
    total = sum(size * visits for size, visits in search.rungs_of(len(chosen))) + 2 * plan.rounds
    with (
        tempfile.TemporaryDirectory(prefix="flyobj-trial-") as folder,
        temporary_server(Path(folder)) as (server, client),
        progress("the defaults", total) as advance,
    ):
        trials = TrialServer(client, server, archive, plan)
        trials.warm_up(photos, defaults)

        def measure(candidate: Candidate) -> Measurement:
            load = trials.measure(candidate)
            advance(1, f"{candidate}: {load.fault or f'{load.per_s:.0f}/s, p99 {load.p99_ms:.0f} ms'}")
            return load

        rungs, meeting = search.search(chosen, measure, plan), None
        if (best := rungs[-1][0].candidate) != defaults:
            meeting = search.duel(best, defaults, measure, plan)
    return TuneResult(plan, cores, processor(), defaults, rungs, meeting)
