"""The search on machines whose best settings are known."""

import random
from collections.abc import Callable
from dataclasses import astuple, replace

import pytest

from loadtest.tune.search import (
    Candidate,
    Measurement,
    Trial,
    TunePlan,
    choose,
    duel,
    is_better,
    rungs_of,
    search,
    space,
)

DEFAULTS = Candidate(2, 1, 8, 1, "auto")
THROUGHPUT, LATENCY = TunePlan("throughput", 100), TunePlan("latency", 100)


def machine(noise: float = 0.0, seed: int = 0) -> Callable[[Candidate], Measurement]:
    """Be fastest with 3 workers and batches of 16; larger batches keep people waiting."""
    rng = random.Random(seed)

    def measure(s: Candidate) -> Measurement:
        rate = 300 * min(s.workers, 3) / 3 * (1 - 0.02 * abs(s.batch_size - 16) / 8)
        rate *= 0.2 if s.engine == "torch" else 1.0
        p99 = 20 + 2 * s.batch_size + 5 * s.batch_delay_ms
        factor = 1 + noise * rng.uniform(-1, 1)
        return Measurement(rate * factor, p99 / 2, p99 / factor, 1000 / rate)

    return measure


def test_the_space_keeps_to_the_cores() -> None:
    for cores in (1, 2, 8):
        found = space(cores, ("auto", "torch"))
        assert len(set(found)) == len(found)
        assert all(s.workers * s.threads <= 2 * cores for s in found)
        assert {s.workers for s in found} >= {1, cores, 2 * cores}
    assert DEFAULTS in space(2, ("auto",))


def test_the_defaults_come_first_then_what_differs_in_one_setting() -> None:
    chosen = choose(DEFAULTS, space(2, ("auto", "torch")), 27)
    assert len(set(chosen)) == len(chosen) == 27
    differences = [
        sum(a != b for a, b in zip(astuple(s), astuple(DEFAULTS), strict=True)) for s in chosen
    ]
    assert differences[0] == 0
    assert differences[1:13] == [1] * 12
    assert min(differences[13:]) > 1
    assert chosen == choose(DEFAULTS, space(2, ("auto", "torch")), 27)


def test_each_rung_keeps_a_third_and_measures_it_three_times_as_often() -> None:
    chosen = choose(DEFAULTS, space(2, ("auto", "torch")), 27)
    asked: list[Candidate] = []

    def measure(settings: Candidate) -> Measurement:
        asked.append(settings)
        return machine()(settings)

    rungs = search(chosen, measure, THROUGHPUT)
    assert rungs_of(27) == [(27, 1), (9, 3), (3, 9)]
    visits = [{len(trial.loads) for trial in rung} for rung in rungs]
    assert ([*map(len, rungs)], visits) == ([27, 9, 3], [{1}, {3}, {9}])
    assert len(asked) == 81
    second = asked[27:54]
    assert second[:9] == second[9:18][::-1]  # by turns, in alternating order


@pytest.mark.parametrize("seed", range(5))
def test_the_best_is_found_in_spite_of_noise(seed: int) -> None:
    everything = space(2, ("auto", "torch"))
    best = search(everything, machine(0.05, seed), THROUGHPUT)[-1][0].candidate
    worth = machine()(best).per_s / max(machine()(s).per_s for s in everything)
    assert worth > 0.95


def test_nothing_over_the_limit_wins_while_something_is_under_it() -> None:
    slow = replace(DEFAULTS, batch_size=32)
    figures = {DEFAULTS: Measurement(100, 50, 90, 5), slow: Measurement(900, 50, 101, 5)}
    best = search(list(figures), figures.__getitem__, THROUGHPUT)[-1][0].candidate
    assert best == DEFAULTS


def test_where_nothing_keeps_the_limit_the_rate_counts_with_its_p99() -> None:
    slow = replace(DEFAULTS, workers=1)
    figures = {slow: Measurement(90, 100, 190, 5), DEFAULTS: Measurement(150, 100, 200, 5)}
    best = search(list(figures), figures.__getitem__, THROUGHPUT)[-1][0].candidate
    assert best == DEFAULTS
    assert THROUGHPUT.value(figures[DEFAULTS]) == 75


def test_latency_wants_the_lowest_p99() -> None:
    best = search(space(2, ("auto",)), machine(), LATENCY)[-1][0].candidate
    assert (best.batch_size, best.batch_delay_ms) == (1, 1)


def test_what_cannot_be_used_comes_last() -> None:
    broken = replace(DEFAULTS, workers=4)
    figures = {broken: Measurement(fault="didn't start"), DEFAULTS: Measurement(1, 900, 999, 5)}
    (rung,) = search(list(figures), figures.__getitem__, THROUGHPUT)
    assert [trial.candidate for trial in rung] == [DEFAULTS, broken]
    assert [trial.fault for trial in rung] == [None, "didn't start"]


BEST = replace(DEFAULTS, workers=3)


def test_a_better_one_wins_the_duel() -> None:
    result = duel(BEST, DEFAULTS, machine(0.05), THROUGHPUT)
    assert result.better
    assert len(result.ratios) == len(result.best.loads) == len(result.defaults.loads) == 8
    assert result.ratio == pytest.approx(1.5, rel=0.1)
    assert duel(DEFAULTS, BEST, machine(0.05), THROUGHPUT).better is False


def test_latencys_ratio_is_above_one_where_p99_is_lower() -> None:
    small = replace(DEFAULTS, batch_size=1)
    result = duel(small, DEFAULTS, machine(), LATENCY)
    assert result.ratio == pytest.approx(41 / 27)
    assert result.better


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_does_not_win(seed: int) -> None:
    """Of draws at most 5 % may, here none of these five."""
    twin = replace(DEFAULTS, threads=2)
    assert not duel(twin, DEFAULTS, machine(0.2, seed), THROUGHPUT).better


def test_a_winner_over_the_limit_is_not_taken_from_defaults_under_it() -> None:
    figures = {BEST: Measurement(900, 50, 101, 5), DEFAULTS: Measurement(100, 50, 90, 5)}
    assert not duel(BEST, DEFAULTS, figures.__getitem__, THROUGHPUT).better
    figures[DEFAULTS] = Measurement(100, 50, 200, 5)
    assert duel(BEST, DEFAULTS, figures.__getitem__, THROUGHPUT).better


def test_a_winner_with_wrong_answers_is_not_taken() -> None:
    figures = {
        BEST: Measurement(900, 5, 9, 5, fault="1 answers were wrong"),
        DEFAULTS: Measurement(1, 9, 9, 5),
    }
    assert not duel(BEST, DEFAULTS, figures.__getitem__, THROUGHPUT).better


def test_one_lucky_load_makes_no_winner() -> None:
    lucky = Trial(BEST, [Measurement(per_s, 5, 9, 5) for per_s in (100, 100, 900)])
    steady = Trial(DEFAULTS, [Measurement(200, 5, 9, 5)] * 3)
    assert THROUGHPUT.rank(steady) > THROUGHPUT.rank(lucky)


@pytest.mark.parametrize(
    ("wins", "rounds", "better"),
    [(8, 8, 1), (7, 8, 1), (6, 8, 0), (5, 5, 1), (4, 5, 0), (4, 4, 0), (9, 10, 1), (8, 10, 0)],
)
def test_the_sign_test(wins: int, rounds: int, better: int) -> None:
    """7 of 8: 9 of 256 draws come out so; 6 of 8: 37 of 256."""
    assert is_better([1.1] * wins + [0.5] * (rounds - wins)) == bool(better)
