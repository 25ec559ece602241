"""The capacity of a running server: at which rate does its p99 leave the limit?

`loadtest` sends and judges; this joins it with what the server itself shows meanwhile: CPU and memory of
its processes, and the batches that it formed. `flyobj loadtest --find-capacity` is the command.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import psutil

from loadtest.capacity.figures import LatencyLimits, figures_of
from loadtest.capacity.generator import Generator, GeneratorFailed, LoadResult
from loadtest.capacity.records import Capacity, EndReason, Probe, Second, machine
from loadtest.capacity.schedule import poisson
from loadtest.capacity.search import ProbeOutcome, Step, knee_of, next_step
from loadtest.capacity.watch import PARTS, Watch
from loadtest.photos import Photos
from model.errors import FlyobjError, InputError, PhotoError
from report.progress import Advance, progress, say
from serving.server.client import Client
from serving.server.lifecycle import Server
from serving.server.versions import find_version

WARM_UP = 0.25  # of a probe's length, sent before it and not counted
LONG = 2.5  # times as long: a run that confirms
PAUSE_S = 0.5  # after the last answer; the server counts a batch a moment later
TIMEOUT_S = 10.0
_SETTLE = 0.5  # of a probe's length, before the first: the first requests of a server are slow
_GIVE_UP = 0.1  # of a probe's requests failed: the rest won't save it


@dataclass(frozen=True)
class CapacitySettings:
    """How the knee is looked for.

    Attributes:
        p99_ms: that a rate must keep to hold.
        max_failures: share of requests that may fail.
        first_rate: to begin with, requests/s.
        probe_s: counted part of a probe; one that confirms is 2.5 times as long.
        max_minutes: no probe begins that could end later.
        seed: of the schedules.
    """

    p99_ms: float
    max_failures: float = 0.001
    first_rate: float = 20.0
    probe_s: float = 8.0
    max_minutes: float = 8.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what no search could do."""
        allowed = {
            "p99-ms": (self.p99_ms, 1, 60_000, "100"),
            "max-failures": (self.max_failures, 0, 0.5, "0.001"),
            "first-rate": (self.first_rate, 1, 10_000, "20"),
            "probe-seconds": (self.probe_s, 0.5, 600, "8"),
            "max-minutes": (self.max_minutes, 0.1, 240, "8"),
        }
        for name, (value, low, high, good) in allowed.items():
            if not low <= value <= high:  # nan too
                raise InputError(f"--{name} {value:g} must be from {low:g} to {high:g}, such as {good}")

    def seconds(self, step: Step) -> float:
        """How long a step sends, with its warm-up."""
        return self.warm_up_s + self.probe_s * (LONG if step.long else 1)

    @property
    def warm_up_s(self) -> float:
        """Sent before the counted part of a probe."""
        return WARM_UP * self.probe_s

    @property
    def timeout_s(self) -> float:
        """After which a request has failed."""
        return max(TIMEOUT_S, 2 * self.p99_ms / 1000)


@dataclass
class Search:
    """A search under way; `probes` and `seconds` hold what was measured, however it ends."""

    server: Server
    client: Client
    settings: CapacitySettings
    generator: Generator
    watch: Watch
    advance: Advance
    began: float = field(default_factory=time.monotonic)
    probes: list[Probe] = field(default_factory=list)
    # of what happened in each second
    counts: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def run(self) -> EndReason:
        """Probe until the knee is confirmed, the time is up or the server is gone."""
        settings = self.settings
        self._send(poisson(settings.first_rate, _SETTLE * settings.probe_s, settings.seed))
        time.sleep(PAUSE_S)
        while step := next_step(self.outcomes, settings.first_rate):
            latest = time.monotonic() + settings.seconds(step) + settings.timeout_s
            if latest - self.began > 60 * settings.max_minutes:
                return EndReason.OUT_OF_TIME
            seconds = settings.seconds(step)
            self.advance(0, f"{'confirming ' if step.long else ''}{step.rate:g}/s for {seconds:g} s")
            probe = self._probe(step)
            if self.server.process() is None:
                return EndReason.SERVER_GONE
            self.probes.append(probe)
            self.advance(seconds)
            say(str(probe))
        return EndReason.DONE

    @property
    def outcomes(self) -> list[ProbeOutcome]:
        """What the probes say of their rates."""
        return [ProbeOutcome(Step(p.rate, p.long), p.figures.verdict) for p in self.probes]

    def seconds(self) -> list[Second]:
        """What happened in each second."""
        # a sample is of the second before it
        by_second = {round(s.at - self.began) - 1: s for s in self.watch.samples}
        found, cores = [], dict.fromkeys(PARTS, 0.0)
        for t in range(max([*self.counts, *by_second], default=-1) + 1):
            _, cores, memory_mib = by_second.get(t, (0, cores, None))
            n = self.counts[t]
            counted = Second(t, n["offered"], n["answered"], n["failed"], **cores, memory_mib=memory_mib)
            found.append(counted)
        return found

    def _probe(self, step: Step) -> Probe:
        number, settings = len(self.probes) + 1, self.settings
        seed = 1000 * settings.seed + 2 * number
        first = settings.warm_up_s
        counted = poisson(step.rate, settings.seconds(step) - first, seed)
        arrivals = poisson(step.rate, first, seed + 1) + [first + t for t in counted]
        before, batches = self.watch.usage(), self._batches()
        sent = self._send(arrivals)
        after = self.watch.usage()
        time.sleep(PAUSE_S)
        grown = Counter(self._batches())
        grown.subtract(batches)
        answered = sum(fault is None for fault in sent.fault)
        limits = LatencyLimits(settings.p99_ms, settings.max_failures)
        cores = after.cores_since(before)
        others = cores["others"] / (psutil.cpu_count() or 1)
        return Probe(
            number=number,
            rate=step.rate,
            long=step.long,
            began_s=round(sent.start - self.began, 2),
            seconds=round(settings.seconds(step), 2),
            figures=figures_of(sent, arrivals, first, limits, others),
            cpu_ms=round(1000 * (after.server - before.server) / answered, 2) if answered else None,
            cores=cores,
            batches={size: n for size, n in sorted(grown.items()) if n > 0},
        )

    def _send(self, arrivals: Sequence[float]) -> LoadResult:
        token = self.client.tokens.get("inference")
        sent = self.generator.send(arrivals, token, max(20, round(_GIVE_UP * len(arrivals))))
        begun = sent.start - self.began
        for arrival in arrivals:
            self.counts[math.floor(begun + arrival)]["offered"] += 1
        for arrival, latency, fault in zip(arrivals, sent.latency_s, sent.fault, strict=False):
            answered = math.floor(begun + arrival + latency)
            self.counts[answered]["failed" if fault else "answered"] += 1
        return sent

    def _batches(self) -> dict[int, int]:
        """Count batches so far; a server that is gone has formed none."""
        try:
            return self.client.batch_sizes()
        except FlyobjError:
            return {}


def find_capacity(
    server: Server, client: Client, photos: Photos, settings: CapacitySettings
) -> Capacity:
    """Look for the knee of the server's default version.

    Args:
        server: that is put under load.
        client: connected to it.
        photos: to send, in turn.
        settings: the limit, and how to look.

    Returns:
        What was measured, also when it ended early; `ended` says how.

    Raises:
        InputError: the server doesn't answer the first photo.
    """
    conditions, classes = _conditions(client, photos.files)
    with ExitStack() as stack:
        generator = stack.enter_context(
            Generator(server.port, client.path(), photos.files, classes, settings.timeout_s)
        )
        watch = stack.enter_context(Watch(server, generator.pid))
        advance = stack.enter_context(progress("first requests", 60 * settings.max_minutes))
        search = Search(server, client, settings, generator, watch, advance)
        try:
            how = search.run()
        except KeyboardInterrupt:
            how = EndReason.INTERRUPTED
        except GeneratorFailed:
            raise
        except FlyobjError:  # the server is asked for tokens and batches between probes
            if server.process():
                raise
            how = EndReason.SERVER_GONE
    return Capacity(
        settings=asdict(settings),
        conditions=conditions,
        ended=how,
        knee=knee_of(search.outcomes),
        probes=search.probes,
        seconds=search.seconds(),
    )


def _conditions(client: Client, photos: Sequence[bytes]) -> tuple[dict[str, str], list[str]]:
    """Ask the first photo: what is served, on what machine, and the classes of its answers."""
    try:
        answer = client.predict(photos[0])
    except PhotoError as error:
        raise InputError(
            f"the first photo isn't answered: {error}; check the --home of the "
            "server and give --photos that it can read"
        ) from error
    name = str(answer["model_version"])
    version = find_version(client, name)
    sizes = sorted(len(photo) / 1000 for photo in photos)
    facts = {"version": name}
    if version:
        facts |= {
            "archive": version.archive,
            "workers": str(version.workers),
            "batches": f"at most {version.batch_size}, delay {version.max_batch_delay_ms} ms",
        }
    median = sizes[len(sizes) // 2]
    facts["photos"] = f"{len(photos)} of {sizes[0]:.0f} to {sizes[-1]:.0f} kB, median {median:.0f} kB"
    return facts | machine(), list(answer["probabilities"])
