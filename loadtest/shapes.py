"""How the number of users goes over a run, as tables of stages.

The tables are in shares of Locust's own `--users` and `--run-time`, so one shape serves short and long
runs. After Locust's `examples/custom_shape/stages.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        until: when it ends, as a share of the run time.
        users: as a share of all users.
        gradual: whether the users come or go bit by bit, at its start all at once otherwise.
    """

    until: float
    users: float
    gradual: bool = False


@dataclass(frozen=True)
class Shape:
    """A shape; `seconds` is how long it takes if nobody says otherwise."""

    seconds: int
    stages: tuple[Stage, ...]


SHAPES = {
    "constant": Shape(60, (Stage(1.0, 1.0),)),
    "steps": Shape(
        300, (Stage(0.2, 0.2), Stage(0.4, 0.4), Stage(0.6, 0.6), Stage(0.8, 0.8), Stage(1.0, 1.0))
    ),
    "ramp": Shape(300, (Stage(0.9, 1.0, gradual=True), Stage(1.0, 1.0))),
    "spike": Shape(180, (Stage(0.4, 0.1), Stage(0.6, 1.0), Stage(1.0, 0.1))),
    "soak": Shape(7200, (Stage(0.02, 0.5, gradual=True), Stage(1.0, 0.5))),  # past a token's hour
}


def share_at(stages: Sequence[Stage], moment: float) -> float | None:
    """Say which share of the users is wanted at a moment from 0 to 1; None when all stages are over."""
    began, before = 0.0, 0.0
    for stage in stages:
        if moment < stage.until:
            done = (moment - began) / (stage.until - began) if stage.gradual else 1.0
            return stage.users * done + before * (1 - done)
        began, before = stage.until, stage.users
    return None
