"""What should be served, as written and read again."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import FlyobjError, InputError
from serving.rollout.deployment import (
    DeployedVersion,
    Deployment,
    lock_deployment,
    read_deployment,
    write_deployment,
)
from serving.rollout.history import read_history, record

ONE, TWO = DeployedVersion("a-1.0.mar", "1" * 64), DeployedVersion("a-2.0.mar", "2" * 64)


def test_nothing_was_deployed_yet(tmp_path: Path) -> None:
    assert read_deployment(tmp_path) == Deployment(None, {})


def test_the_first_version_becomes_the_default() -> None:
    both = Deployment().with_version("1.0", ONE).with_version("2.0", TWO)
    assert both == Deployment("1.0", {"1.0": ONE, "2.0": TWO})
    assert both.with_default("2.0") == Deployment("2.0", {"1.0": ONE, "2.0": TWO}, previous="1.0")


def test_round_trip(tmp_path: Path) -> None:
    two = replace(TWO, workers=3, batch_size=16, max_batch_delay_ms=5)
    deployment = Deployment("2.0", {"1.0": ONE, "2.0": two}, previous="1.0", model="cats")
    write_deployment(deployment, tmp_path)
    assert read_deployment(tmp_path) == deployment
    assert [p.name for p in tmp_path.iterdir()] == ["deployment.json"]


GOOD = {"archive": "a-1.0.mar", "sha256": "1" * 64}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must hold a JSON object, it holds: list"),
        ({"default": None}, r"missing keys \['versions'\], .*; mend it, or remove it and deploy again"),
        ({"default": "1.0", "versions": []}, "'versions' must be a JSON object, it is list"),
        (
            {"default": "1.0", "versions": {"1.0": {"archive": "x"}}},
            r"version '1\.0': missing keys \['sha256'\]",
        ),
        ({"default": "1.0", "versions": {"1.0": {**GOOD, "size": 1}}}, r"unknown keys \['size'\]"),
        ({"default": "1.0", "versions": {"1.0": GOOD}, "comment": ""}, r"unknown keys \['comment'\]"),
        (
            {"default": "1.0", "versions": {"1.0": {**GOOD, "workers": 0}}},
            "workers 0 must be",
        ),
        ({"default": "1.0", "versions": {"1.0": {**GOOD, "workers": "2"}}}, "workers '2' must be"),
        ({"default": "1.0", "versions": {"1.0": {**GOOD, "archive": "../a.mar"}}}, "name of a file in"),
        ({"default": "1.0", "versions": {"1.0": {**GOOD, "sha256": "1"}}}, "64 hexadecimal digits"),
        ({"default": "2.0", "versions": {"1.0": GOOD}}, r"default '2.0' isn't one of .*\['1.0'\]"),
        ({"default": None, "versions": {"1.0": GOOD}}, "default None isn't one of"),
        ({"default": "2.0#", "versions": {"2.0#": GOOD}}, "version '2.0#' must be numbers and dots"),
        (
            {"default": "\uff11", "versions": {"\uff11": GOOD}},
            "version '\uff11' must be numbers and dots",
        ),
        ({"default": "1.0", "versions": {}}, "default '1.0' isn't one of"),
        ({"default": "1.0", "versions": {"1.0": GOOD}, "model": "Cats"}, r"'Cats' must be .*\[a-z\]"),
        ({"default": "1.0", "versions": {"1.0": GOOD}, "model": None}, "model name None must be"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, document: object, message: str) -> None:
    (tmp_path / "deployment.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"deployment\.json.*{message}"):
        read_deployment(tmp_path)


def test_a_half_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deployment.json").write_text('{"default": ')
    with pytest.raises(InputError, match=r"deployment\.json' can't be read as JSON"):
        read_deployment(tmp_path)


def test_a_file_of_before_is_read(tmp_path: Path) -> None:
    """Without `previous` and `workers`, as the first versions of this program wrote it."""
    (tmp_path / "deployment.json").write_text(json.dumps({"default": "1.0", "versions": {"1.0": GOOD}}))
    assert read_deployment(tmp_path) == Deployment("1.0", {"1.0": DeployedVersion(**GOOD)})


def test_the_default_before_is_remembered_once() -> None:
    both = Deployment("1.0", {"1.0": ONE, "2.0": TWO})
    promoted = both.with_default("2.0")
    assert (promoted.default, promoted.previous) == ("2.0", "1.0")
    assert promoted.with_default("2.0") == promoted
    back = promoted.with_rollback()
    assert (back.default, back.previous) == ("1.0", None)
    assert promoted.without("1.0").previous is None


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """The process may write no file of more than 64 bytes; the operating system refuses the rest."""
    write_deployment(Deployment("1.0", {"1.0": ONE}), tmp_path)
    before = (tmp_path / "deployment.json").read_bytes()
    script = f"""
import resource
from pathlib import Path
from model.errors import FlyobjError
from serving.rollout.deployment import *
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
try:
    other = DeployedVersion("a-1.0.mar", "3" * 64)
    write_deployment(Deployment("1.0", {{"1.0": other}}), Path({str(tmp_path)!r}))
except FlyobjError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "can't be written" in said.stdout
    assert "nothing was changed" in said.stdout
    assert (tmp_path / "deployment.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["deployment.json"]


def test_a_second_writer_waits_and_is_told_who_is_at_it(tmp_path: Path) -> None:
    with (
        lock_deployment(tmp_path, "deploy 2.0"),
        pytest.raises(FlyobjError, match=rf"deploy 2\.0 by .*\(pid {os.getpid()}\) since .*waited 0"),
        lock_deployment(tmp_path, "promote 1.0", wait_s=0),
    ):
        pytest.fail("both hold the lock")
    with lock_deployment(tmp_path, "promote 1.0", wait_s=0):
        assert "promote 1.0" in (tmp_path / ".deployment.lock").read_text()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = f"""
import sys
from dataclasses import replace
from pathlib import Path
from serving.rollout.deployment import lock_deployment
with lock_deployment(Path({str(tmp_path)!r}), "deploy 2.0"):
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(FlyobjError, match=rf"\(pid {other.pid}\)"),
            lock_deployment(tmp_path, "promote", wait_s=0),
        ):
            pytest.fail("both hold the lock")
        other.kill()
        other.wait()
    with lock_deployment(tmp_path, "promote", wait_s=5):
        pass


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(FlyobjError, match="read-only store is served as its deployment"),
        lock_deployment(tmp_path / "none", "deploy"),
    ):
        pytest.fail("a lock without a store")


def test_history_keeps_what_was_done_and_what_failed(tmp_path: Path) -> None:
    with record(tmp_path, "deploy", "2.0"):
        pass
    with pytest.raises(FlyobjError, match="broken"), record(tmp_path, "promote", "2.0"):
        raise FlyobjError("broken\nmore")
    with (tmp_path / "deployment-history.jsonl").open("a") as file:
        file.write('{"time": "cut sh')
    first, second = read_history(tmp_path)
    assert (first.operation, first.version, first.outcome) == ("deploy", "2.0", "done")
    assert (second.operation, second.outcome) == ("promote", "broken")
    assert f"(pid {os.getpid()})" in first.who
