"""`flyobj canary` as its users meet it; `tests/serving/fleet` has it with a running nginx."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.fleet import canary

if TYPE_CHECKING:
    from tests.conftest import Home

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Complaint = Callable[[subprocess.CompletedProcess[str]], str]


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    """A folder of nginx, which doesn't run, with a fifth of the traffic for version 2.0."""
    canary.start(tmp_path / "proxy", 8080, "flying_objects", "2.0", 20, 8090)
    return tmp_path / "proxy"


def test_a_share_and_back(inside: FlyObj, server: "Home", tmp_path: Path) -> None:
    split, place = tmp_path / "proxy" / "canary.conf", ("--proxy", "proxy")
    said = inside("canary", "start", "1.0", "--percent", 20, *place, "--home", server.path).stdout
    assert said == "proxy/canary.conf is written; start nginx: nginx -p proxy -c nginx.conf\n"
    assert '20.00% "/1.0"' in split.read_text()
    said = inside("canary", "off", *place).stdout
    assert said == "all traffic goes to the default version; nginx isn't running\n"
    assert "%" not in split.read_text()


def test_a_version_that_is_not_there(
    inside: FlyObj, complaint: Complaint, server: "Home", tmp_path: Path
) -> None:
    said = complaint(inside("canary", "start", "7.0", "--home", server.path, code=2))
    see = f"`flyobj models list --home {server.path}`"
    assert said == f"version '7.0' isn't there or isn't ready; see {see}"
    assert list(tmp_path.iterdir()) == []


def test_off_where_no_nginx_is(inside: FlyObj, complaint: Complaint, tmp_path: Path) -> None:
    said = complaint(inside("canary", "off", "--proxy", tmp_path, code=2))
    assert said == f"{str(tmp_path)!r} holds no nginx.conf; `flyobj canary start` writes one"


def test_watching_ends_once_the_canary_fails(
    inside: FlyObj, complaint: Complaint, proxy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers well until the second look, then fails each time."""
    statuses = [200, 503]

    def answers(*_: float) -> None:
        line = {"time": time.time(), "canary": "/2.0", "status": statuses.pop(0), "seconds": 0.1}
        with (proxy / "logs" / "access.log").open("a") as log:
            log.writelines([json.dumps(line) + "\n"] * 10)

    answers()
    monkeypatch.setattr("cli.canary.time.sleep", answers)
    options = ("--watch", "--least", 10, "--proxy", proxy, "--json")
    result = inside("canary", "check", *options, code=1)
    why = "10 of the canary's 20 answers failed, a share of 0.01 is allowed"
    assert complaint(result) == f"switched back to the default version: {why}"
    document = json.loads(result.stdout)
    assert (document["canary"]["answers"], document["switched_back"]) == (20, why)
    assert "2.0" not in (proxy / "canary.conf").read_text()
