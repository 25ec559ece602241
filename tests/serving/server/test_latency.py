"""One percentile for all figures."""

from serving.server.latency import percentile


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7
    assert percentile([1.0, 2.0], 0.5) == 1
    assert percentile([1.0, 2.0], 0.51) == 2
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert percentile([], 0.99) == 0
