"""How many users there are at which moment."""

import pytest

from loadtest.shapes import SHAPES, Stage, share_at


@pytest.mark.parametrize(
    ("moment", "share"), [(0.0, 0.5), (0.24, 0.5), (0.25, 0.5), (0.5, 0.25), (0.74, 0.01), (0.75, 1.0)]
)
def test_stages_follow_one_another(moment: float, share: float) -> None:
    stages = (Stage(0.25, 0.5), Stage(0.75, 0.0, gradual=True), Stage(1.0, 1.0))
    assert share_at(stages, moment) == pytest.approx(share)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_fills_the_run_and_ends(name: str) -> None:
    shape = SHAPES[name]
    ends = [stage.until for stage in shape.stages]
    assert ends == sorted(set(ends))
    assert ends[-1] == 1.0
    shares = [share_at(shape.stages, step / 1000) for step in range(1000)]
    assert all(share is not None and 0 <= share <= 1 for share in shares)
    assert share_at(shape.stages, 1.0) is None


def test_the_shapes_are_what_their_names_say() -> None:
    def shares(name: str) -> list[float]:
        found = [share_at(SHAPES[name].stages, (step + 0.5) / 100) for step in range(100)]
        return [share for share in found if share is not None]

    assert set(shares("constant")) == {1.0}
    assert sorted(set(shares("steps"))) == [0.2, 0.4, 0.6, 0.8, 1.0]
    ramp = shares("ramp")
    assert ramp == sorted(ramp)
    assert len(set(ramp)) > 80
    spike = shares("spike")
    assert (spike[0], spike[50], spike[-1]) == (0.1, 1.0, 0.1)
    assert SHAPES["soak"].seconds > 3600  # longer than a token lasts
