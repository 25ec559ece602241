"""`flyobj loadtest` as a user runs it, against the shared server."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FlyObj = Callable[..., Any]


def test_locust_gets_server_tokens_and_arguments(
    flyobj: FlyObj, server: Any, dataset: Path, photos: list[bytes], tmp_path: Path
) -> None:
    load = ("loadtest", "--home", server.path, "--photos")
    more = ("--", "--users", 2, "--run-time", "2s", "--csv", tmp_path / "load")
    ended = flyobj(*load, dataset / "test", *more)
    assert "Aggregated" in ended.stdout + ended.stderr
    assert (tmp_path / "load_stats.csv").is_file()
    wrong = tmp_path / "test" / "Weather Balloons"  # a class that the model doesn't know
    wrong.mkdir(parents=True)
    (wrong / "1.jpg").write_bytes(photos[0])
    flyobj(*load, wrong.parent, *more, code=1)


def test_ctrl_c_ends_it_with_its_summary(server: Any, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("flyobj")), "loadtest", "--home", str(server.path)]
    more = ["--", "--users", "1", "--run-time", "60s"]
    with (tmp_path / "said").open("w+") as said:
        process = subprocess.Popen(
            [*command, *more],
            stdout=said,
            stderr=said,
            cwd=tmp_path,
            start_new_session=True,
            # A shell's background jobs, which the tests may be one of, don't hear of Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        with process:
            until = time.monotonic() + 50
            while "All users spawned" not in (tmp_path / "said").read_text():
                assert time.monotonic() < until
                time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.wait(30) == 130
    text = (tmp_path / "said").read_text()
    assert "Aggregated" in text
    assert text.endswith("interrupted\n")
    assert "KeyboardInterrupt" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--home", "nowhere"], "no server runs with home 'nowhere'"),
        (["--find-capacity", "--photos", "nowhere"], "'nowhere' can't be read"),
        (["--find-capacity", "--p99-ms", "0"], "--p99-ms 0 must be from 1"),
        (["--find-capacity", "--p99-ms", "fast"], "Invalid value for '--p99-ms'"),
        (["--find-capacity", "--", "--users", "2"], "'--users 2' would go to Locust"),
        (["--compare", "one", "two"], "'one' holds no capacity.json"),
        (["--compare", "one", "one"], "'one' can't be compared with itself"),
    ],
)
def test_wrong_usage_is_said(inside: FlyObj, server: Any, arguments: list[str], message: str) -> None:
    home = [] if "--home" in arguments else ["--home", server.path]
    ended = inside("loadtest", *home, *arguments, code=2)
    assert message in " ".join(ended.stderr.replace("│", " ").split())


def test_a_limit_that_no_rate_keeps(inside: FlyObj, server: Any, dataset: Path, tmp_path: Path) -> None:
    """A search to its end: no answer takes less than a millisecond."""
    limits = ("--p99-ms", 1, "--first-rate", 1, "--probe-seconds", 1)
    options = ("--photos", dataset / "test", "--home", server.path, "--out", tmp_path / "out")
    ended = inside("loadtest", "--find-capacity", *limits, *options, code=1)
    said, look = ended.stdout.splitlines()
    assert re.fullmatch(r"no rate held; after [2-8] probes the search is complete", said)
    assert look == f"look at {tmp_path}/out/report.html"
    assert "error: no rate held (p99 1 ms, the search is complete)" in ended.stderr
    assert (tmp_path / "out" / "report.html").is_file()
