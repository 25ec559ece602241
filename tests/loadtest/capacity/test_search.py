"""The search for the knee, on servers whose knee is known."""

import heapq
from collections.abc import Callable

import pytest

from loadtest.capacity.schedule import poisson
from loadtest.capacity.search import Knee, ProbeOutcome, Step, Verdict, knee_of, next_step
from serving.server.latency import percentile

HELD, BROKE, LATE, DISTURBED = Verdict

Server = Callable[[Step, int], Verdict]


def search(server: Server, first: float = 20.0, limit: int = 100) -> list[ProbeOutcome]:
    """Let the search ask `server(step, number)` until it is over."""
    outcomes: list[ProbeOutcome] = []
    while (step := next_step(outcomes, first)) and len(outcomes) < limit:
        outcomes.append(ProbeOutcome(step, server(step, len(outcomes))))
    return outcomes


def breaks_over(knee: float, how: Verdict = BROKE) -> Server:
    return lambda step, _: HELD if step.rate <= knee else how


@pytest.mark.parametrize("knee", [1.3, 7, 19.9, 20, 21, 333, 4321.5])
@pytest.mark.parametrize("first", [5.0, 20.0, 300.0])
def test_the_knee_is_found_to_five_per_cent(knee: float, first: float) -> None:
    outcomes = search(breaks_over(knee), first)
    found = knee_of(outcomes)
    assert found.rate
    assert found.over
    assert found.rate <= knee < found.over <= found.rate * 1.051
    assert found.confirmed
    assert found.limited_by == "server"
    assert len(outcomes) < 40


def test_it_doubles_then_bisects_then_confirms() -> None:
    steps = [outcome.step for outcome in search(breaks_over(100), 40)]
    assert [s.rate for s in steps[:5]] == [40, 80, 160, 160, 113.1]
    assert [s.long for s in steps].count(True) == 3  # one that holds, one that breaks twice
    assert [s.long for s in steps] == sorted(s.long for s in steps)


def test_one_bad_moment_does_not_end_the_search() -> None:
    """Each probe breaks by chance the first time that its rate is asked."""
    seen: set[Step] = set()

    def unlucky(step: Step, _: int) -> Verdict:
        first_time, _ = step not in seen, seen.add(step)
        return BROKE if first_time or step.rate > 200 else HELD

    found = knee_of(search(unlucky))
    assert found.rate
    assert 190 < found.rate <= 200


def test_longer_runs_overrule_shorter_ones_downwards() -> None:
    found = knee_of(search(lambda s, _: HELD if s.rate <= (180 if s.long else 200) else BROKE))
    assert found.rate
    assert 170 < found.rate <= 180
    assert found.confirmed


def test_longer_runs_overrule_shorter_ones_upwards() -> None:
    found = knee_of(search(lambda s, _: HELD if s.rate <= (220 if s.long else 200) else BROKE))
    assert found.rate
    assert 209 < found.rate <= 220
    assert found.confirmed


@pytest.mark.parametrize(("how", "who"), [(LATE, "generator"), (DISTURBED, "others")])
def test_what_breaks_for_another_reason_is_not_the_servers_knee(how: Verdict, who: str) -> None:
    outcomes = search(breaks_over(300, how))
    found = knee_of(outcomes)
    assert found.rate
    assert 285 < found.rate <= 300
    assert found.limited_by == who
    assert [o.step for o in outcomes].count(Step(640.0)) == 0
    assert [o.step for o in outcomes].count(Step(320.0)) == 4


def test_a_disturbed_moment_does_not_count_like_a_clear_one() -> None:
    """Each second probe is disturbed, and breaks for that alone; the others tell the truth."""
    found = knee_of(search(lambda s, n: DISTURBED if n % 2 else HELD if s.rate <= 200 else BROKE))
    assert found.rate
    assert 190 < found.rate <= 200
    assert found.limited_by == "server"


def test_nothing_holds() -> None:
    outcomes = search(lambda *_: BROKE)
    assert [o.step.rate for o in outcomes] == [20, 20, 10, 10, 5, 5, 2.5, 2.5, 1.25, 1.25]
    assert knee_of(outcomes) == Knee(None, 1.25, False, "server")


def test_everything_holds() -> None:
    found = knee_of(search(lambda *_: HELD))
    assert found == Knee(10_240, None, False, None)


def test_a_search_cut_short_says_what_it_knows() -> None:
    known = search(breaks_over(300))
    assert knee_of([]) == Knee(None, None, False, None)
    assert knee_of(known[:3]) == Knee(80, None, False, None)
    bisected = [outcome for outcome in known if not outcome.step.long]
    assert knee_of(bisected).rate == max(o.step.rate for o in bisected if o.verdict is HELD)
    assert not knee_of(bisected).confirmed
    refuted = [*bisected, ProbeOutcome(Step(known[-1].step.rate / 1.05, True), BROKE)]
    assert not knee_of(refuted).confirmed


def test_a_long_run_that_broke_once_is_no_knee() -> None:
    outcomes = [
        ProbeOutcome(Step(100), HELD),
        ProbeOutcome(Step(104), BROKE),
        ProbeOutcome(Step(104), BROKE),
        ProbeOutcome(Step(100, True), BROKE),
    ]
    assert next_step(outcomes, 20) == Step(100, True)
    assert knee_of(outcomes) == Knee(None, 100, False, "server")


def queue(rate: float, seconds: float, seed: int, service_s: float = 0.005) -> list[float]:
    """The latencies (s) of a server of two workers that take requests in turn, on a real schedule."""
    free, latencies = [0.0, 0.0], []
    for arrival in poisson(rate, seconds, seed):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + service_s)
        latencies.append(start + service_s - arrival)
    return latencies


def test_other_schedules_find_the_same_knee() -> None:
    """What chance there is in the schedule alone: knees of ten seeds are within 5 % of their mean."""
    knees = []
    for seed in range(10):

        def ask(step: Step, number: int, seed: int = seed) -> Verdict:
            seconds = 20 if step.long else 8
            times = sorted(queue(step.rate, seconds, 1000 * seed + number))
            return HELD if percentile(times, 0.99) <= 0.1 else BROKE

        found = knee_of(search(ask))
        assert found.rate
        assert found.confirmed
        knees.append(found.rate)
    mean = sum(knees) / len(knees)
    assert all(abs(knee / mean - 1) <= 0.05 for knee in knees)
    assert 360 < mean < 400  # 400/s is what two workers of 5 ms can do
