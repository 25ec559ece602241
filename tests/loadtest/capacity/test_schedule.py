"""When the open loop sends."""

import itertools

import numpy as np

from loadtest.capacity.schedule import poisson


def test_the_rate_is_exact_and_the_times_are_in_order() -> None:
    times = poisson(37.5, 8, seed=3)
    assert len(times) == 300
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < 8


def test_the_same_seed_gives_the_same_times() -> None:
    assert poisson(50, 2, seed=1) == poisson(50, 2, seed=1) != poisson(50, 2, seed=2)


def test_the_gaps_are_those_of_a_poisson_process() -> None:
    gaps = np.diff(poisson(1000, 60, seed=0))
    # exponential: mean and standard deviation are both 1/rate, and 1 - 1/e of the gaps are below it
    assert abs(gaps.mean() * 1000 - 1) < 0.01
    assert abs(gaps.std() * 1000 - 1) < 0.02
    assert abs((gaps < 0.001).mean() - 0.632) < 0.01


def test_no_requests_at_no_length() -> None:
    assert list(itertools.chain(poisson(10, 0, 1), poisson(0.1, 1, 1))) == []
