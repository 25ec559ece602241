"""`flyobj loadtest` as a user runs it, against the shared server."""

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
def test_wrong_usage_is_said(flyobj: FlyObj, server: Any, arguments: list[str], message: str) -> None:
    home = [] if "--home" in arguments else ["--home", server.path]
    ended = flyobj("loadtest", *home, *arguments, code=2)
    assert message in " ".join(ended.stderr.replace("│", " ").split())
