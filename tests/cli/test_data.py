"""`flyobj data` as its users meet it."""

import json
import shutil
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


@pytest.mark.slow
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


def test_photos_to_test_on_are_taken_from_those_to_train_on(
    inside: FlyObj, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = photo_folder(train={"a": 10, "b": 10}, val={"a": 2, "b": 2})
    said = inside("data", "prepare", data, "--out", tmp_path / "p", "--no-prune", "--workers", 1).stdout
    assert "splits: train from 'train', validation from 'val', test of train's photos\n" in said
    assert len([*(tmp_path / "p" / "test").rglob("*.jpg")]) == 4


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


@pytest.mark.slow
def test_suspects_and_decisions(
    inside: FlyObj,
    complaint: Complaint,
    dataset: Path,
    weights_file: Path,
    run_copy: Path,
    tmp_path: Path,
) -> None:
    """From suspects to a table that decides, to a data set, to figures with and without."""
    data = shutil.copytree(dataset, tmp_path / "d")
    found = inside("data", "suspects", data, "--weights", weights_file, "--size", 32, "--json")
    report = json.loads(found.stdout)
    table = tmp_path / "d-suspects" / "suspects.csv"
    assert (report["photos"], report["table"]) == (40, str(table))
    text = table.read_text().splitlines()
    place = next(i for i, line in enumerate(text) if line.startswith("test/"))
    text[place] += "relabel"
    table.write_text("\n".join(text))
    out = tmp_path / "mended"
    options = ("--decisions", table, "--decided-by", "Ada")
    assert "it relabels 1" in inside("data", "prepare", data, "--out", out, *options).stdout
    assert "Ada" in (out / "manifest.csv").read_text()
    evaluated = inside("evaluate", run_copy, "--data", out, "--out", tmp_path / "e")
    assert "labels decided to be wrong: 1 (0 of no class, 0 of these gone)" in evaluated.stdout
    assert "1 label of these photos was decided" in (tmp_path / "e" / "report.html").read_text()
    shard = inside("data", "prepare", data, "--out", out, *options, "--shard", "1/2", code=2)
    assert "give it to `flyobj data merge`" in complaint(shard)
    missing = inside("data", "suspects", data, "--run", tmp_path / "no", code=2)
    assert "doesn't exist; give a run folder" in complaint(missing)
