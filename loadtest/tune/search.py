"""Which settings serve best: a search by successive halving, then a duel of its best with the defaults.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) measures many candidates briefly,
keeps the best third, measures these three times as often, and so on: most of the time goes to those that
may win. It starts with the defaults, then whatever differs from them in one setting, then others drawn
at random, so that its first rung also shows what each setting does alone.

The best of many is partly the luckiest. So it meets the defaults once more, by turns, on fresh figures,
and is taken only if a sign test says that it is better.

This module is arithmetic: what measures is handed in.
"""

import itertools
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

KEPT = 3  # one in so many goes on, to be measured so many times as often
_ENOUGH = 6  # a rung of so few is the last
_LEVEL = 0.05  # how often the duel may call a draw a win
GOALS = ("throughput", "latency")


@dataclass(frozen=True)
class Settings:
    """What is tuned; as in `handler/model-config.yaml`.

    Attributes:
        workers: processes.
        threads: of the engine in each.
        batch_size: requests that go through the network together, at most.
        batch_delay_ms: that the first of them waits for more.
        engine: "auto" (the fastest that the archive has) or "torch".
    """

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
class Measured:
    """One load on one candidate. Without an answer there are no times."""

    per_s: float = 0.0
    p50_ms: float = math.inf
    p99_ms: float = math.inf
    cpu_ms: float = math.inf  # of all the server's processes, an answer
    wrong: str | None = None  # why it can't be used


@dataclass(frozen=True)
class Goal:
    """What is wanted.

    Attributes:
        name: "throughput" for most answers a second, "latency" for the lowest p99.
        p99_ms: the limit; what keeps it goes before what doesn't. Where nothing does, a rate that is had
            with twice as long a p99 counts half.
    """

    name: str
    p99_ms: float

    def value(self, loads: Sequence[Measured]) -> float:
        """Return what is to be high: the median of the loads."""
        return statistics.median(map(self._value, loads))

    def _value(self, load: Measured) -> float:
        if self.name == "latency":
            return 1 / load.p99_ms
        return load.per_s * min(1.0, self.p99_ms / load.p99_ms)

    def gain(self, ours: Sequence[Measured], theirs: Sequence[Measured]) -> float:
        """Say how many times as good our loads are as theirs; above 1 is better."""
        other = self.value(theirs)
        return self.value(ours) / other if other else math.inf

    def keeps_limit(self, loads: Sequence[Measured]) -> bool:
        """Whether p99 is under the limit."""
        return statistics.median(load.p99_ms for load in loads) <= self.p99_ms

    def rank(self, loads: Sequence[Measured]) -> tuple[bool, bool, float]:
        """Return what sorts candidates, the best highest: usable, under the limit, good."""
        usable = not any(load.wrong for load in loads)
        return usable, usable and self.keeps_limit(loads), self.value(loads)


@dataclass
class Rung:
    """One round of the search: each of its candidates was measured as often, by turns.

    `loads` has them in the order of the ranking, the best first.
    """

    visits: int
    loads: dict[Settings, list[Measured]] = field(default_factory=dict)


@dataclass(frozen=True)
class Duel:
    """The best against the defaults, by turns.

    Attributes:
        best: its loads, one a round.
        defaults: theirs.
        ratios: how many times as good the best was, round by round.
        better: whether that is more than chance, and nothing speaks against it.
    """

    best: tuple[Measured, ...]
    defaults: tuple[Measured, ...]
    ratios: tuple[float, ...]
    better: bool

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)


Measure = Callable[[Settings], Measured]


def space(cores: int, engines: Sequence[str]) -> list[Settings]:
    """List what makes sense on so many cores: no more than twice as many threads in all."""
    workers = sorted({1, max(1, cores // 2), cores, cores + max(1, cores // 2), 2 * cores})
    threads = sorted({1, 2, max(1, cores // 2), cores})
    batching = [(1, 1), *itertools.product((2, 4, 8, 16, 32), (1, 5, 10))]
    return [
        Settings(w, t, *batch, engine)
        for w, t, batch, engine in itertools.product(workers, threads, batching, engines)
        if w * t <= 2 * cores
    ]


def candidates(defaults: Settings, allowed: Sequence[Settings], count: int, seed: int) -> list[Settings]:
    """Choose what to try: the defaults, what differs from them in one setting, then any."""
    others = [settings for settings in allowed if settings != defaults]
    random.Random(seed).shuffle(others)
    others.sort(key=lambda settings: _differences(settings, defaults) > 1)  # keeps the order else
    return [defaults, *others][:count]


def loads_needed(count: int) -> int:
    """Say how many loads a search of so many candidates takes."""
    visits, total = 1, 0
    while True:
        total += visits * count
        if count <= _ENOUGH:
            return total
        count, visits = _survivors(count), visits * KEPT


def search(chosen: Sequence[Settings], measure: Measure, goal: Goal) -> list[Rung]:
    """Measure candidates and leave out the hopeless, rung by rung; the last rung's first is the best."""
    rungs, alive, visits = [], list(chosen), 1
    while True:
        loads: dict[Settings, list[Measured]] = {settings: [] for settings in alive}
        for visit in range(visits):
            for settings in alive[:: -1 if visit % 2 else 1]:
                loads[settings].append(measure(settings))
        alive.sort(key=lambda settings: goal.rank(loads[settings]), reverse=True)
        rungs.append(Rung(visits, {settings: loads[settings] for settings in alive}))
        if len(alive) <= _ENOUGH:
            return rungs
        alive, visits = alive[: _survivors(len(alive))], visits * KEPT


def duel(best: Settings, defaults: Settings, measure: Measure, goal: Goal, rounds: int) -> Duel:
    """Measure both by turns, in alternating order, and judge."""
    loads: dict[Settings, list[Measured]] = {best: [], defaults: []}
    for turn in range(rounds):
        for settings in (best, defaults)[:: -1 if turn % 2 else 1]:
            loads[settings].append(measure(settings))
    ours, theirs = loads[best], loads[defaults]
    ratios = tuple(goal.gain([a], [b]) for a, b in zip(ours, theirs, strict=True))
    allowed = not any(load.wrong for load in ours)
    allowed = allowed and (goal.keeps_limit(ours) or not goal.keeps_limit(theirs))
    return Duel(tuple(ours), tuple(theirs), ratios, allowed and is_better(ratios))


def is_better(ratios: Sequence[float]) -> bool:
    """Sign test, one-sided: would ratios of a draw be above 1 as often in at most 5 % of cases?

    It asks nothing of how figures scatter, and one round that a neighbour spoiled doesn't decide.
    """
    n, wins = len(ratios), sum(ratio > 1 for ratio in ratios)
    as_often = sum(math.comb(n, k) for k in range(wins, n + 1))
    return as_often / float(2**n) <= _LEVEL


def _survivors(count: int) -> int:
    return max(1, round(count / KEPT))


def _differences(one: Settings, other: Settings) -> int:
    return sum(getattr(one, f.name) != getattr(other, f.name) for f in fields(Settings))
