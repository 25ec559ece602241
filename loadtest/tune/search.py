"""Which settings serve best: successive halving, then a duel of its best with the defaults.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) measures many candidates briefly,
keeps the best third, measures these three times as often, and so on: most of the time goes to those that
may win. The best of many is partly the luckiest, so it meets the defaults once more, on fresh figures,
and is taken only if a sign test says that it is better. What measures is handed in.
"""

import itertools
import math
import operator
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

KEPT = 3  # one in this many is kept, to be measured this many times as often
_ENOUGH = 6  # a rung of so few is the last
_LEVEL = 0.05  # how often the duel may call a draw a win


@dataclass(frozen=True)
class Candidate:
    """What is tuned, as `handler/model-config.yaml` explains it; `engine` is "auto" or "torch"."""

    workers: int
    threads: int
    batch_size: int
    batch_delay_ms: int
    engine: str

    def __str__(self) -> str:
        """Put them on one line."""
        batch = f"batches of {self.batch_size} within {self.batch_delay_ms} ms"
        return f"{self.workers} workers x {self.threads} threads, {batch}, {self.engine}"


@dataclass(frozen=True)
class Measurement:
    """One load on one candidate; `fault` says why its figures can't be used."""

    per_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_ms: float = 0.0  # of all the server's processes, an answer
    fault: str | None = None


Measure = Callable[[Candidate], Measurement]


@dataclass(frozen=True)
class Trial:
    """A candidate and the loads that it was given."""

    candidate: Candidate
    loads: Sequence[Measurement]

    @property
    def fault(self) -> str | None:
        """Why it can't be used."""
        return next((load.fault for load in self.loads if load.fault), None)

    def median(self, figure: str) -> float:
        """Return the median of a figure of its loads."""
        values: list[float] = [getattr(load, figure) for load in self.loads]
        return statistics.median(values)


@dataclass(frozen=True)
class TunePlan:
    """What is wanted, "throughput" or "latency", and the clients, seconds and rounds to find it with.

    What keeps the limit `p99_ms` goes before what doesn't. Where nothing does, a rate with a p99
    of twice the limit counts half.
    """

    goal: str
    p99_ms: float
    clients: int = 16
    seconds: float = 3  # of each load
    candidates: int = 27
    rounds: int = 8  # of the duel

    def value(self, load: Measurement) -> float:
        """Return what is to be high."""
        if load.fault:
            return 0.0
        if self.goal == "latency":
            return 1 / load.p99_ms
        return load.per_s * min(1.0, self.p99_ms / load.p99_ms)

    def keeps_limit(self, trial: Trial) -> bool:
        """Whether p99 is within the limit."""
        return trial.fault is None and trial.median("p99_ms") <= self.p99_ms

    def rank(self, trial: Trial) -> tuple[bool, bool, float]:
        """Return what sorts candidates, the best highest: usable, within the limit, good."""
        value = statistics.median(map(self.value, trial.loads))
        return trial.fault is None, self.keeps_limit(trial), value


@dataclass(frozen=True)
class Duel:
    """The best against the defaults: how many times as good it was, round by round.

    It is `better` if that is more than chance, and nothing speaks against it.
    """

    best: Trial
    defaults: Trial
    ratios: Sequence[float]
    better: bool

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)

    @property
    def wins(self) -> int:
        """Rounds in which the best was better."""
        return sum(ratio > 1 for ratio in self.ratios)


def space(cores: int, engines: Sequence[str]) -> list[Candidate]:
    """List what makes sense on this many cores: no more than twice as many threads in all."""
    workers = sorted({1, max(1, cores // 2), cores, cores + max(1, cores // 2), 2 * cores})
    threads = sorted({1, 2, max(1, cores // 2), cores})
    batching = [(1, 1), *itertools.product((2, 4, 8, 16, 32), (1, 5, 10))]
    return [
        Candidate(w, t, *batch, engine)
        for w, t, batch, engine in itertools.product(workers, threads, batching, engines)
        if w * t <= 2 * cores
    ]


def choose(defaults: Candidate, allowed: Sequence[Candidate], count: int) -> list[Candidate]:
    """Choose what to try: the defaults, what differs from them in one setting, then any."""
    others = [candidate for candidate in allowed if candidate != defaults]
    random.Random(0).shuffle(others)
    others.sort(key=lambda other: sum(map(operator.ne, astuple(other), astuple(defaults))) > 1)
    return [defaults, *others][:count]


def rungs_of(count: int) -> list[tuple[int, int]]:
    """Plan a search of this many candidates: how many each rung measures, and how often."""
    plan = [(count, 1)]
    while plan[-1][0] > _ENOUGH:
        size, visits = plan[-1]
        plan.append((round(size / KEPT), visits * KEPT))
    return plan


def search(chosen: Sequence[Candidate], measure: Measure, plan: TunePlan) -> list[list[Trial]]:
    """Measure candidates and leave out the hopeless, rung by rung; the last rung's first is the best."""
    rungs, left = [], list(chosen)
    for size, visits in rungs_of(len(chosen)):
        rungs.append(sorted(_by_turns(left[:size], measure, visits), key=plan.rank, reverse=True))
        left = [trial.candidate for trial in rungs[-1]]
    return rungs


def duel(best: Candidate, defaults: Candidate, measure: Measure, plan: TunePlan) -> Duel:
    """Measure both and judge."""
    ours, theirs = _by_turns((best, defaults), measure, plan.rounds)
    pairs = zip(ours.loads, theirs.loads, strict=True)
    ratios = [plan.value(a) / (plan.value(b) or 1e-9) for a, b in pairs]
    allowed = ours.fault is None and (plan.keeps_limit(ours) or not plan.keeps_limit(theirs))
    return Duel(ours, theirs, ratios, allowed and is_better(ratios))


def is_better(ratios: Sequence[float]) -> bool:
    """Sign test, one-sided: would ratios of a draw be above 1 as often in at most 5 % of cases?"""
    n, wins = len(ratios), sum(ratio > 1 for ratio in ratios)
    return sum(math.comb(n, k) for k in range(wins, n + 1)) <= _LEVEL * 2.0**n


def _by_turns(candidates: Sequence[Candidate], measure: Measure, rounds: int) -> list[Trial]:
    """Measure each once a round; the order alternates."""
    loads: dict[Candidate, list[Measurement]] = {candidate: [] for candidate in candidates}
    for turn in range(rounds):
        for candidate in candidates[:: -1 if turn % 2 else 1]:
            loads[candidate].append(measure(candidate))
    return [Trial(*pair) for pair in loads.items()]
