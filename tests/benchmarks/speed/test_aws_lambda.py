"""What a million photos cost, on numbers that can be checked by hand."""

import argparse

from benchmarks.speed.aws_lambda import costs

PRICES = argparse.Namespace(
    memory_mb=1024,
    price_gb_s=0.00001,
    price_million_requests=0.2,
    price_million_api=1.0,
    price_core_hour=0.05,
    server_cores=2,
    busy=0.5,
)


def test_costs() -> None:
    """10 ms of 1 GB, a million times, are 10,000 GB-s; 3.6 ms of a processor are one hour of it."""
    assert costs({"mean_ms": 10.0}, {"cpu_ms": 3.6}, PRICES) == {
        "lambda": {"gb_s": 10_000, "dollars": 1.3},
        "server": {"core_hours": 1.0, "dollars": 0.1},
        "month": {"server_dollars": 73.0, "even_at_photos": 56_153_846},
    }
