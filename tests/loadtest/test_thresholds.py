"""Which runs are over which threshold."""

import json
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.thresholds import RunFigures, Thresholds, add_options, breaches, read_limits

ROOT = Path(__file__).parents[2]
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


# In a process of its own, as Locust changes the standard library when it is imported.
_FIGURES = """
import json
from dataclasses import asdict
from locust.stats import RequestStats
from loadtest.thresholds import read_figures

stats = RequestStats()
for count, ms in ((510, 10), (445, 100), (40, 1000), (5, 9000)):
    for _ in range(count):
        stats.log_request("POST", "photo", ms, 0)
    stats.log_error("POST", "photo", "refused")
print(json.dumps(asdict(read_figures(stats))))
"""


def test_each_threshold_is_held_against_its_own_percentile() -> None:
    """Of Locust's own statistics, whose p50, p95, p99 and maximum differ by far."""
    command = [sys.executable, "-c", _FIGURES]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    figures = RunFigures(**json.loads(said))
    assert (figures.requests, figures.failures) == (1000, 4)
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == (10, 100, 1000)
    within = ("--max-p50-ms", "10", "--max-p95-ms", "100", "--max-p99-ms", "1000")
    assert breaches(figures, parse(*within)) == []
    for at in (1, 3, 5):
        over = [*within[:at], str(int(within[at]) - 1), *within[at + 1 :]]
        (breach,) = breaches(figures, parse(*over))
        assert f"is over {over[at - 1]} {over[at]}" in breach


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
