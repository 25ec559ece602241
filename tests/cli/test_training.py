"""`flyobj train`, `evaluate`, `calibrate` and `archive` as their users meet them."""

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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "data': no such folder; give a folder with train/CLASS/ photos"),
        (lambda data: (data / "train").mkdir(parents=True), "has 0 class folder(s)"),
        (lambda data: (data / "train" / "a").mkdir(parents=True), "has 1 class folder(s) ['a']"),
    ],
    ids=["missing", "empty", "one class"],
)
def test_train_on_wrong_data(
    inside: FlyObj, complaint: Complaint, tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "data")
    command = ["train", tmp_path / "data", "--out", tmp_path / "run", "--weights", "none"]
    assert message in complaint(inside(*command, code=2))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "train needs DATA, a folder with train/CLASS/ photos, or --resume RUN"),
        (("photos",), "photos': no such folder; give a folder with train/CLASS/ photos"),
        (("--resume", "no"), "'no' has no settings.json; give the run folder"),
        (("--resume", "r", "--size", 96, "--lr", 0.1), "['size'] can't be changed, only ['devices', "),
        (("--resume", "r", "--size", 96, "--rate=0.1"), "['size'] can't be changed, only ['devices', "),
        (("photos", "--out", "r", "--rate", 2), "lr 2.0 must be between 0 and 1"),  # the old spelling
        (("photos", "--resume", "r"), "'r' has no settings.json; give the run folder"),
        (("photos", "--out", "r", "--mix", "cut"), "mix 'cut' must be one of none, mixup, cutmix"),
        (("photos", "--out", "r", "--augment", "wild"), "augment 'wild' must be one of mission, mild"),
        (("photos", "--out", "r", "--head", "tail"), "head 'tail' must be one of mlp, linear"),
        (("--resume", "r", "--refit"), "['refit'] can't be changed, only ['devices', "),
    ],
)
def test_train_with_wrong_options(
    inside: FlyObj, complaint: Complaint, options: tuple[object, ...], message: str
) -> None:
    assert message in complaint(inside("train", *options, code=2))


@pytest.mark.slow
def test_rates_and_augmentation_can_be_looked_at(inside: FlyObj, dataset: Path, tmp_path: Path) -> None:
    options = ("--weights", "none", "--size", 32, "--epochs", 4, "--workers", 0, "--batch-size", 8)
    command = ("train", dataset, "--out", tmp_path / "run", *options, "--lr-find-only", "--json")
    found = json.loads(inside(*command).stdout)["lrs"]
    assert list(found) == ["half-size", "whole"]
    assert all(1e-7 < rate < 1 for rate in found.values())
    written = {p.name for p in (tmp_path / "run" / "logs").iterdir()}
    assert written == {f"range_test-{n}.{kind}" for n in found for kind in ("csv", "png")}
    assert not (tmp_path / "run" / "bundle").exists()
    shown = inside("data", "preview", dataset, "--out", tmp_path / "p.png", "--size", 32, "--json")
    assert json.loads(shown.stdout) == {"picture": str(tmp_path / "p.png"), "photos": 8}


@pytest.mark.slow
def test_evaluate(inside: FlyObj, run_copy: Path, dataset: Path) -> None:
    """A run keeps its evaluation, each split its own; the figures of test go into the bundle."""
    command = ("evaluate", run_copy, "--data", dataset)
    result = json.loads(inside(*command, "--json").stdout)
    assert (result["split"], result["photos"]) == ("test", 8)
    assert result == json.loads((run_copy / "evaluation" / "evaluation.json").read_text())
    figures = json.loads((run_copy / "bundle" / "metrics.json").read_text())
    assert figures["confusion"] == result["confusion"]
    assert "mistakes" not in figures
    shown = inside(*command, "--split", "train", "--group-regex", r"\d\.").stdout
    assert "accuracy" in shown
    assert (run_copy / "evaluation-train" / "report.html").is_file()
    assert json.loads((run_copy / "bundle" / "metrics.json").read_text()) == figures
    document = json.loads((run_copy / "run.json").read_text())  # as if it had been trained with groups
    document["settings"]["group_regex"] = r"(\d)\."
    (run_copy / "run.json").write_text(json.dumps(document))
    assert r"groups by (\d)\." in json.loads(inside(*command, "--json").stdout)["intervals_over"]


@pytest.mark.slow
def test_evaluate_elsewhere(
    inside: FlyObj, complaint: Complaint, run_copy: Path, dataset: Path, tmp_path: Path
) -> None:
    command = ("evaluate", run_copy, "--data", dataset, "--out", tmp_path / "out")
    inside(*command)
    assert not (run_copy / "evaluation").exists()
    assert "exists already; name another folder, or give --force" in complaint(inside(*command, code=2))
    said = inside("evaluate", run_copy / "bundle", "--data", dataset).stdout
    assert "--out DIR draws a report" in said


@pytest.mark.slow
def test_other_photos_figures_do_not_become_the_runs_own(
    inside: FlyObj, run_copy: Path, dataset: Path, tmp_path: Path
) -> None:
    inside("evaluate", run_copy)
    own = run_copy / "bundle" / "metrics.json", run_copy / "evaluation" / "evaluation.json"
    before = [path.read_bytes() for path in own]
    other = shutil.copytree(dataset, tmp_path / "other")
    next((other / "test").rglob("*.jpg")).unlink()
    for options in ((), ("--out", tmp_path / "out")):
        said = inside("evaluate", run_copy, "--data", other, *options)
        assert "was trained with another folder" in said.stderr
        assert ("--out DIR draws a report" in said.stdout) == (not options)
        assert [path.read_bytes() for path in own] == before
    asked = ("--out", run_copy / "evaluation", "--force")
    assert "another folder" not in inside("evaluate", run_copy, "--data", other, *asked).stderr
    assert json.loads(own[0].read_text())["photos"] == 7
    (tmp_path / "link").symlink_to(dataset)  # the same folder by another name
    inside("evaluate", run_copy, "--data", tmp_path / "link")
    assert [path.read_bytes() for path in own[:1]] == before[:1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "nothing"), "has train, test photos, no nothing ones"),
        (("--group-regex", "("), "isn't a regular expression"),
        (("--group-regex", "clip"), "matches none of"),
        (("--unknown", "nowhere"), "'nowhere' can't be read (No such file"),
        (("--against", "nowhere"), "'nowhere' doesn't exist"),
        (("--out", __file__), "is a file; name a folder"),
    ],
)
def test_evaluate_on_wrong_input(
    inside: FlyObj,
    complaint: Complaint,
    run_copy: Path,
    dataset: Path,
    options: tuple[str, ...],
    message: str,
) -> None:
    result = inside("evaluate", run_copy, "--data", dataset, *options, code=2)
    assert message in complaint(result)
    assert not (run_copy / "evaluation").exists()


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_run_whose_photos_are_gone(
    inside: FlyObj, complaint: Complaint, run_copy: Path, command: str
) -> None:
    path = run_copy / "run.json"
    gone = {"data": "/gone/photos", "data_from_run": "../photos"}
    path.write_text(json.dumps(json.loads(path.read_text()) | gone))
    words = (command, *[run_copy] * (2 if command == "compare" else 1))
    said = complaint(inside(*words, code=2))
    assert said.startswith(f"{str(run_copy)!r} was trained with '/gone/photos', which isn't there any")
    assert said.endswith("; give --data DIR, a folder with test/CLASS/ photos")


@pytest.mark.slow
def test_an_archive_does_not_say_which_photos(
    inside: FlyObj, complaint: Complaint, archive_path: Path
) -> None:
    said = complaint(inside("evaluate", archive_path, code=2))
    assert said.startswith(f"{str(archive_path)!r} doesn't say which photos to use; give --data DIR")


@pytest.mark.slow
def test_quantize(
    inside: FlyObj, run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for, although four photos can't tell, is a run beside the other."""
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512_bf16\n")
    monkeypatch.setattr("model.precision._CPU_INFO", tmp_path / "cpuinfo")
    said = inside("quantize", run_copy, "--precision", "bf16", "--force").stdout
    first, second, third = said.splitlines()
    new = tmp_path / "run-bf16"
    assert first.startswith("bf16, all layers: accuracy ")
    assert second.startswith(f"{new}: these 4 photos can't tell whether {new} is better than {run_copy}")
    assert third == f"next: flyobj evaluate {new}"
    assert (new / "bundle" / "graph.xml").is_file()


def test_calibrate(inside: FlyObj, run_copy: Path) -> None:
    shown = inside("calibrate", run_copy, "--reject-rate", 0.25).stdout
    assert "fewer than 100" in shown
    assert "1 of the validation photos" in shown
    result = json.loads(inside("calibrate", run_copy, "--json").stdout)
    assert (result["photos"], result["reject_below"]) == (4, None)


def test_archive_of_a_bundle_with_an_unknown_key(
    inside: FlyObj, complaint: Complaint, run_copy: Path, tmp_path: Path
) -> None:
    path = run_copy / "bundle" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    command = ["archive", run_copy, "--version", "1.0", "--model-store", tmp_path / "store"]
    assert "unknown keys ['colour']" in complaint(inside(*command, code=2))
    assert not (tmp_path / "store").exists()


def test_archive_of_a_version_that_exists(
    inside: FlyObj, complaint: Complaint, run: Path, archive_path: Path
) -> None:
    before = archive_path.stat()
    command = ["archive", run, "--version", "1.0", "--model-store", archive_path.parent]
    assert "exists already" in complaint(inside(*command, code=2))
    assert archive_path.stat() == before
