"""When requests are sent, whatever the server does: the open loop's schedule."""

import random


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the arrivals of clients that don't know of each other, s after the start.

    Many independent clients together make a Poisson process (Palm and Khintchine). Evenly spaced
    requests never come two at a time, which is kinder than any real traffic and hides the queues that a
    p99 is made of. Given how many they are, the arrivals of such a process are uniform and independent
    (S. M. Ross, Stochastic Processes, theorem 2.3.1); so the number is exactly `rate` x `seconds`, and
    a probe offers the rate that it says.
    """
    draw = random.Random(seed)
    return sorted(draw.uniform(0, seconds) for _ in range(round(rate * seconds)))
