"""Which runs are over which threshold."""

from argparse import ArgumentParser
from dataclasses import replace

import pytest

from loadtest.thresholds import RunFigures, Thresholds, add_options, breaches, read_limits

RUN = RunFigures(requests=1000, failures=20, seconds=10.0, p50_ms=40, p95_ms=90, p99_ms=150)


def parse(*words: str) -> Thresholds:
    parser = ArgumentParser()
    add_options(parser)
    return read_limits(parser.parse_args(words))


def test_without_thresholds_nothing_is_said() -> None:
    assert parse() == Thresholds()
    assert breaches(replace(RUN, requests=0, failures=0), Thresholds()) == []


def test_what_is_at_a_threshold_is_not_over_it() -> None:
    limits = Thresholds(p50_ms=40, p95_ms=90, p99_ms=150, failures=0.02, rate=98)
    assert breaches(RUN, limits) == []


@pytest.mark.parametrize(
    ("option", "limit", "named"),
    [
        ("--max-p50-ms", "39", "p50 40 ms is over --max-p50-ms 39"),
        ("--max-p95-ms", "89.5", "p95 90 ms is over --max-p95-ms 89.5"),
        ("--max-p99-ms", "100", "p99 150 ms is over --max-p99-ms 100"),
        ("--max-failures", "0.01", "failures 0.0200 (20 of 1000 requests) are over --max-failures 0.01"),
        ("--min-rate", "99", "rate 98.0 correct answers/s is under --min-rate 99"),
    ],
)
def test_each_breach_is_named_with_value_and_limit(option: str, limit: str, named: str) -> None:
    assert breaches(RUN, parse(option, limit)) == [named]


def test_failed_requests_are_no_rate() -> None:
    """A server that is gone refuses many a second."""
    gone = replace(RUN, failures=1000)
    assert gone.rate == 0
    assert len(breaches(gone, parse("--min-rate", "0.1"))) == 1


def test_a_run_without_requests_passes_no_threshold() -> None:
    (said,) = breaches(replace(RUN, requests=0, failures=0), parse("--max-p99-ms", "100"))
    assert "no request was made" in said


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--max-p99-ms", "fast", "above 0"),
        ("--max-p50-ms", "0", "above 0"),
        ("--min-rate", "inf", "above 0"),
        ("--min-rate", "nan", "above 0"),
        ("--max-failures", "1%", "from 0 to 1"),
        ("--max-failures", "1.5", "from 0 to 1"),
    ],
)
def test_a_wrong_threshold_is_refused(
    option: str, value: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(option, value)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {option}: {value!r} must be" in said
    assert allowed in said
