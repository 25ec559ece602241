"""What costly bodies cost a real server: CPU time and memory of each alone, and how long others wait.

Part of `benchmarks.reliability.fuzz`. Wrong is: a worker that takes more than 2 s of CPU or 1 GiB for a
body, and an honest client that waits for more than 5 s while sixteen others send the costliest bodies
without a pause. CPU time and memory include the child processes of workers.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.reliability.corpus import Case
from benchmarks.reliability.judge import Judge

CPU_GOAL_S, MEMORY_GOAL_MIB, WAIT_GOAL_S = 2.0, 1024.0, 5.0
ATTACKERS = 16
_SAMPLE_S = 0.01
_WORST = 4  # kinds that are sent together


@dataclass
class CaseCost:
    """What one body cost."""

    case: Case
    status: int
    cpu_s: float
    memory_mib: float  # more than before, at most
    wall_s: float


class WorkerWatch:
    """Sees what worker processes take, with their children."""

    def __init__(self, pids: Sequence[int]) -> None:
        """Watch these workers."""
        self._workers = [psutil.Process(pid) for pid in pids]

    def cpu_s(self) -> float:
        """CPU seconds of the workers, and of their children, those that have ended too."""
        seconds = 0.0
        for worker in self._workers:
            for process in (worker, *worker.children()):
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                seconds += times.user + times.system + times.children_user + times.children_system
        return seconds

    def largest_mib(self) -> float:
        """Resident memory of the larger worker with its children."""
        sizes = []
        for worker in self._workers:
            size = 0
            for process in (worker, *worker.children()):
                try:
                    size += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            sizes.append(size / 2**20)
        return max(sizes)


def measure_alone(judge: Judge, watch: WorkerWatch, cases: Sequence[Case]) -> list[CaseCost]:
    """Send each body while nothing else is sent."""
    costs = []
    with judge.clients() as http:
        for case in cases:
            before, cpu_s, started = watch.largest_mib(), watch.cpu_s(), time.monotonic()
            peak = before
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(judge.ask, http, case)
                while not asked.done():
                    peak = max(peak, watch.largest_mib())
                    time.sleep(_SAMPLE_S)
            status, _ = asked.result()
            wall_s = time.monotonic() - started
            costs.append(CaseCost(case, status, watch.cpu_s() - cpu_s, peak - before, wall_s))
    return costs


def measure_wait(judge: Judge, bodies: Sequence[Case], seconds: float) -> tuple[list[float], set[int]]:
    """Let sixteen clients send `bodies` without a pause, and an honest one a photo after another.

    Returns:
        Seconds of each of the honest client's waits, and the statuses that it got.
    """
    end = time.monotonic() + seconds
    waits, statuses = [], set()

    def attack(first: int) -> None:
        with judge.clients() as http:
            number = first
            while time.monotonic() < end:
                judge.ask(http, bodies[number % len(bodies)])
                number += 1

    with ThreadPoolExecutor(ATTACKERS) as pool:
        attacks = [pool.submit(attack, number) for number in range(ATTACKERS)]
        with judge.clients() as http:
            time.sleep(1)  # until their requests are there
            while time.monotonic() < end:
                started = time.monotonic()
                statuses.add(judge.ask(http, judge.good[0])[0])
                waits.append(time.monotonic() - started)
        for future in attacks:
            future.result()
    return waits, statuses


def measure_costs(judge: Judge, pids: Sequence[int], cases: Sequence[Case], wait_s: float) -> Any:
    """Measure all `cases` alone, then the waiting beside the worst few; return the document's part."""
    watch = WorkerWatch(pids)
    started_mib = watch.largest_mib()
    costs = measure_alone(judge, watch, cases)
    worst = sorted(costs, key=lambda cost: -cost.cpu_s)[:_WORST]
    waits, statuses = measure_wait(judge, [cost.case for cost in worst], wait_s)
    largest = max(costs, key=lambda cost: cost.memory_mib)
    document = {
        "bodies": len(costs),
        "worst_cpu_s": round(worst[0].cpu_s, 2),
        "worst_cpu_kind": worst[0].case.kind,
        "worst_memory_mib": round(largest.memory_mib),
        "worst_memory_kind": largest.case.kind,
        "kept_mib": round(watch.largest_mib() - started_mib),
        "longest_wait_s": round(max(waits), 2),
        "honest_requests": len(waits),
        "honest_statuses": sorted(statuses),
        "attackers_send": [cost.case.kind for cost in worst],
        "load_average": round(os.getloadavg()[0], 1),  # over the number of cores it was busy otherwise
        "kinds": {
            cost.case.kind: [cost.status, round(cost.cpu_s, 2), round(cost.memory_mib)] for cost in costs
        },
    }
    document["passed"] = (
        worst[0].cpu_s <= CPU_GOAL_S
        and largest.memory_mib <= MEMORY_GOAL_MIB
        and max(waits) <= WAIT_GOAL_S
        and statuses == {200}
    )
    return document
