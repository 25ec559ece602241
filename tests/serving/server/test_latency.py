"""One percentile for all figures."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from serving.server.latency import percentile


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7
    assert percentile([1.0, 2.0], 0.5) == 1
    assert percentile([1.0, 2.0], 0.51) == 2
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([], 0.99) == 0


@given(
    st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=300),
    st.sampled_from(["0.5", "0.9", "0.95", "0.99", "0.999", "1"]),
)
def test_the_smallest_value_that_so_many_do_not_exceed(values: list[float], share: str) -> None:
    found, wanted = percentile(values, float(share)), Fraction(share) * len(values)
    assert found in values
    assert sum(value <= found for value in values) >= wanted
    assert sum(value < found for value in values) < wanted
