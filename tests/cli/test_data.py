"""`flyobj data` as its users meet it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    pass

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Complaint = Callable[[subprocess.CompletedProcess[str]], str]


def test_synthesize(flyobj: FlyObj, complaint: Complaint, tmp_path: Path) -> None:
    result = flyobj("data", "synthesize", tmp_path / "d", "--per-class", 4, "--json")
    assert json.loads(result.stdout) == {"train": 12, "test": 4}
    again = flyobj("data", "synthesize", tmp_path / "d", code=2)
    assert "exists already" in complaint(again)
    assert again.stdout == ""


def test_prepare_report_and_train(
    flyobj: FlyObj, inside: FlyObj, complaint: Complaint, dataset: Path, tmp_path: Path
) -> None:
    """As a user does it: in two processes, then training on the folder as it is."""
    command = ("data", "prepare", dataset, "--out", tmp_path / "p", "--workers", 2)
    summary = json.loads(flyobj(*command, "--json").stdout)
    assert (summary["kept"], summary["split"]) == (40, "given")
    assert summary["dropped"] == {"not in a class folder": 1}
    assert "exists already" in complaint(inside(*command, code=2))
    shown = inside(*command, "--force").stdout
    assert "40 of 41 files kept" in shown
    assert json.loads((tmp_path / "p" / "summary.json").read_text())["classes"] == summary["classes"]
    inside("data", "report", tmp_path / "p")
    options = ("--weights", "none", "--size", 32, "--epochs", 1, "--workers", 0, "--batch-size", 8)
    inside("train", tmp_path / "p", "--out", tmp_path / "run", *options)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (sum(run["photos"].values()), run["skipped"]) == (32, [])


def test_shards(inside: FlyObj, complaint: Complaint, dataset: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        command = ("data", "prepare", dataset, "--out", tmp_path / f"s{part}", "--workers", 1)
        said = json.loads(inside(*command, "--shard", f"{part}/2", "--json").stdout)
        assert 0 < said["files"] < 41
    missing = inside("data", "merge", tmp_path / "s1", "--out", tmp_path / "m", code=2)
    assert "shards missing: ['2/2']" in complaint(missing)
    inside("data", "merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "m", "--copy")
    assert len([p for p in (tmp_path / "m").rglob("*.jpg") if not p.is_symlink()]) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "can't be read (No such file or directory)"),
        (("--min-side", 0), "min_side is 0"),
        (("--near", 20), "near is 20; give a whole number from 0 to 15"),
        (("--group-regex", "("), "isn't a regular expression"),
        (("--test-share", 2), "test_share is 2.0"),
        (("--prune-share", 0.6), "prune_share is 0.6"),
        (("--shard", "3/2"), "shard '3/2' isn't I/N"),
    ],
)
def test_prepare_on_wrong_input(
    inside: FlyObj, complaint: Complaint, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    result = inside("data", "prepare", tmp_path / "no", "--out", tmp_path / "o", *options, code=2)
    assert message in complaint(result)
    assert list(tmp_path.iterdir()) == []


def test_report_of_what_was_not_prepared(inside: FlyObj, complaint: Complaint, dataset: Path) -> None:
    result = inside("data", "report", dataset, code=2)
    assert "has no summary.json; give a folder made by `flyobj data prepare`" in complaint(result)
