"""`flyobj predict` on photos and folders without a server; `test_serving` has it with one."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from model.bundle import read_bundle
from model.predictor import Predictor

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Complaint = Callable[[subprocess.CompletedProcess[str]], str]

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    """The test photos, a damaged one, an empty one, and what is no photo."""
    folder = shutil.copytree(dataset / "test", tmp_path / "photos")
    first = next(folder.rglob("*.jpg"))
    (folder / "cut.jpg").write_bytes(first.read_bytes()[:700])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("words")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def alike(one: Path, other: Path) -> bool:
    """Whether two tables say the same; the sixth digit depends on what else was in a batch."""
    first, second = rows_of(one), rows_of(other)
    assert [list(row) for row in first] == [list(row) for row in second]
    for ours, theirs in zip(first, second, strict=True):
        for name, cell in ours.items():
            if name == "confidence" or name.startswith("p: "):
                assert float(cell or 0) == pytest.approx(float(theirs[name] or 0), abs=1e-5)
            else:
                assert cell == theirs[name]
    return True


def test_a_run_and_its_archive_answer_as_the_predictor_does(
    inside: FlyObj, run: Path, archive_path: Path, folder: Path, tmp_path: Path
) -> None:
    predictor = Predictor(read_bundle(run / "bundle"))
    for option in (("--run", run), ("--archive", archive_path)):
        out = tmp_path / option[0]
        said = inside("predict", folder, *option, "--csv", f"{out}.csv", "--jsonl", f"{out}.jsonl")
        assert "10 photos in" in said.stdout
        assert "2 can't be answered; 1 other files left out" in said.stdout
        table = rows_of(Path(f"{out}.csv"))
        lines = [json.loads(line) for line in Path(f"{out}.jsonl").read_text().splitlines()]
        assert [row["photo"] for row in table] == [line["photo"] for line in lines]
        answered = 0
        for row, line in zip(table, lines, strict=True):
            if row["error"]:
                assert row["error"] == line["error"]
                continue
            answered += 1
            (right,) = predictor.predict([predictor.prepare(Path(row["photo"]).read_bytes())])
            shares = [line["probabilities"][name] for name in predictor.classes]
            assert shares == pytest.approx(right, abs=1e-4)
            assert [float(row[f"p: {name}"]) for name in predictor.classes] == pytest.approx(
                shares, 1e-5
            )
            assert row["predicted"] == predictor.classes[right.argmax()]
            assert row["runner_up"] == predictor.classes[right.argsort()[-2]]
            assert row["model_version"] == ("1.0" if option[0] == "--archive" else "")
        assert answered == 8
    errors = {Path(row["photo"]).name: row["error"] for row in table if row["error"]}
    assert "can't be decoded to its end" in errors["cut.jpg"]
    assert "is empty" in errors["empty.png"]


def test_what_is_answered_is_not_asked_again(
    inside: FlyObj, run: Path, archive_path: Path, folder: Path, tmp_path: Path, complaint: Complaint
) -> None:
    out = ("--csv", tmp_path / "out.csv", "--jsonl", tmp_path / "out.jsonl")
    command = ("predict", folder, "--archive", archive_path, *out)
    inside(*command)
    whole = [path.read_bytes() for path in out[1::2]]
    (tmp_path / "whole.csv").write_bytes(whole[0])
    said = inside(*command)
    assert "10 of 10 photos are answered already" in said.stderr
    assert [path.read_bytes() for path in out[1::2]] == whole
    out[1].write_bytes(whole[0][:-300])  # the two files needn't have been stopped at the same photo
    assert "10 of 10" not in inside(*command).stderr
    assert alike(out[1], tmp_path / "whole.csv")
    assert len(out[3].read_text().splitlines()) == 10
    one, other = sorted(folder.rglob("*.jpg"))[-2:]
    shutil.copy(one, other)  # another photo under the same name
    assert "9 of 10 photos are answered already" in inside(*command).stderr
    hashes = {row["photo"]: row["sha256"] for row in rows_of(out[1])}
    assert hashes[str(one)] == hashes[str(other)]
    assert len(hashes) == 10
    inside("predict", one, "--archive", archive_path, *out)  # others keep their rows
    assert len(rows_of(out[1])) == 10
    more = ("--jsonl", tmp_path / "more.jsonl")
    inside("predict", one, "--archive", archive_path, *out[:2], *more)  # in another file, too
    assert len(rows_of(out[1])) == 10
    assert len(more[1].read_text().splitlines()) == 1
    again = inside("predict", folder, "--run", run, *out[:2], code=2)
    assert "of another model or" in complaint(again)
    again = inside("predict", folder, "--archive", archive_path, *out[:2], "--top-k", "1", code=2)
    assert "of another model or --top-k" in complaint(again)
    inside("predict", folder, "--run", run, *out[:2], "--force")
    assert {row["model_version"] for row in rows_of(out[1])} == {""}


def test_a_kill_in_the_middle(inside: FlyObj, archive_path: Path, dataset: Path, tmp_path: Path) -> None:
    photos = sorted(dataset.rglob("*.jpg"))
    for number in range(600):
        folder = tmp_path / "many" / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(photos[number % len(photos)], folder / f"{number}.jpg")
    out = tmp_path / "out.csv"
    words = ["predict", str(tmp_path / "many"), "--archive", str(archive_path), "--csv", str(out)]
    command = [str(Path(sys.executable).with_name("flyobj")), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 100
        while not out.exists() or len(out.read_bytes().splitlines()) < 40:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = len(out.read_bytes().splitlines()) - 1
    assert kept < 600
    said = inside(*words)
    assert f"{kept} of 600 photos are answered already" in said.stderr
    inside(*words[:-1], tmp_path / "again.csv")
    assert alike(out, tmp_path / "again.csv")


def test_sorting(
    inside: FlyObj, complaint: Complaint, run: Path, archive_path: Path, folder: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = tmp_path / "other"
    other.mkdir()
    named = next(path for path in folder.rglob("*.jpg") if path.parent != folder)
    (other / named.parent.name).mkdir()
    shutil.copy(named, other / named.parent.name)  # the same name, below another folder
    places = ("predict", folder, other, "--archive", archive_path, "--sort-into")
    for option in ((), ("--copy",)):
        into = tmp_path / f"sorted{len(option)}"
        out = tmp_path / f"out{len(option)}.csv"
        inside(*places, into, *option, "--csv", out)
        inside(*places, into, *option, "--csv", out)  # again: nothing new
        inside(*places, into, *option)
        found = [path for path in into.rglob("*") if not path.is_dir() and path.name[0] != "."]
        assert len(found) == (8 if option else 9)  # the copy of a photo is there already
        assert {path.is_symlink() for path in found} == {not option}
        answers = {row["photo"]: row["predicted"] for row in rows_of(out)}
        for photo, predicted in answers.items():
            if predicted and Path(photo).is_relative_to(folder):
                place = into / predicted / Path(photo).relative_to(folder)
                assert place.read_bytes() == Path(photo).read_bytes()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    wrong = {
        folder / "sorted": "lie in one another",
        tmp_path: "lie in one another",
        run: "isn't empty, and what is in it wasn't sorted by this model",
        folder / "cut.jpg": "lie in one another",
        tmp_path / "out0.csv": "is a file; name a folder",
    }
    for into, message in wrong.items():
        assert message in complaint(inside(*places, into, code=2))
    assert not (folder / "sorted").exists()


def test_a_row_that_was_edited_cannot_sort_a_photo_elsewhere(
    inside: FlyObj, archive_path: Path, folder: Path, tmp_path: Path, complaint: Complaint
) -> None:
    out, into, photo = tmp_path / "out.jsonl", tmp_path / "sorted", next(folder.rglob("[!c]*.jpg"))
    command = ("predict", photo, "--archive", archive_path, "--jsonl", out)
    inside(*command)
    row = json.loads(out.read_text())
    out.write_text(json.dumps(row | {"predicted": "../evil"}) + "\n")
    inside(*command, "--sort-into", into)
    assert not (tmp_path / "evil").exists()
    assert json.loads(out.read_text()) == row
    for wrong in ({"photo": []}, {"predicted": ["bird"]}, {"sha256": None}):
        out.write_text(json.dumps(row | wrong) + "\n")
        assert "a line isn't a row of ours" in complaint(inside(*command, code=2))


def test_nothing_is_overwritten(
    inside: FlyObj, archive_path: Path, folder: Path, tmp_path: Path
) -> None:
    into, photo = tmp_path / "sorted", next(folder.rglob("[!c]*.jpg"))
    command = ("predict", photo, "--archive", archive_path, "--sort-into", into)
    inside(*command)
    (link,) = into.rglob("*.jpg")
    inside(*command, "--copy")
    assert not link.is_symlink()
    assert link.read_bytes() == photo.read_bytes()
    inside(*command)
    assert [*into.rglob("*.jpg")] == [link]
    link.unlink()
    link.write_text("mine")
    inside(*command)
    assert link.read_text() == "mine"
    assert link.with_name(f"{link.stem}-2.jpg").readlink() == photo


def test_pipes(inside: FlyObj, archive_path: Path, folder: Path, tmp_path: Path) -> None:
    photo = next(folder.rglob("[!c]*.jpg"))
    said = inside("predict", photo, "--archive", archive_path, "--csv", "-")
    (row,) = csv.DictReader(io.StringIO(said.stdout))
    assert row["photo"] == str(photo)
    flyobj_path = Path(sys.executable).with_name("flyobj")
    shell = f"cat '{photo}' | {flyobj_path} predict - <(cat '{photo}') --archive {archive_path} --json"
    shown = subprocess.run(["bash", "-c", shell], capture_output=True, check=True, cwd=tmp_path).stdout
    first, second = json.loads(shown)
    assert first["photo"] == "-"
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=1e-6)
    assert float(row["confidence"]) == pytest.approx(first["confidence"], abs=1e-5)
    shell = f"{flyobj_path} predict {folder} --archive {archive_path} --jsonl - | head -1"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["sha256"]
    assert "Traceback" not in result.stderr
    command = f"{flyobj_path} predict {folder} --archive {archive_path} --csv -"
    shell = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert (result.stdout, "error" in result.stderr.lower()) == ("1\n", False)


def test_a_table_ends_after_40_photos(inside: FlyObj, run: Path, folder: Path) -> None:
    photo = next(folder.rglob("[!c]*.jpg"))
    for number in range(42):
        os.link(photo, folder.parent / f"{number}.jpg")
    said = inside("predict", *sorted(folder.parent.glob("*.jpg")), "--run", run).stdout
    assert "\nand 2 more; --csv FILE writes them all\n" in said


def test_one_wrong_name_does_not_keep_the_others_from_being_answered(
    inside: FlyObj, complaint: Complaint, archive_path: Path, folder: Path, tmp_path: Path
) -> None:
    photo, bare = next(folder.rglob("[!c]*.jpg")), tmp_path / "bare"
    bare.mkdir()
    archive = ("--archive", archive_path)
    result = inside("predict", "no.jpg", photo, bare, *archive, "--json", code=2)
    assert "2 of 3 photos can't be answered" in complaint(result)
    missing, good, empty = json.loads(result.stdout)
    assert (missing["error"], empty["error"]) == ("no such file", "no photos in this folder")
    assert good["predicted"] in good["probabilities"]
    assert list(good) == [
        "photo",
        "predicted",
        "confidence",
        "novelty",
        "probabilities",
        "model_version",
    ]
    for name, message in ((bare, "no photos in this folder"), ("no.jpg", "no such file")):
        assert message in complaint(inside("predict", name, *archive, code=2))
    damaged = inside("predict", folder / "cut.jpg", *archive, code=2)
    assert "1 of 1 photos can't be answered" in complaint(damaged)
    (bare / "cut.jpg").write_bytes(b"words")  # nothing but damaged photos
    assert "1 of 1 photos" in complaint(inside("predict", bare, *archive, code=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--run", "RUN", "--archive", "a.mar"), "exclude one another"),
        (("--run", "RUN", "--version", "1.0"), "exclude one another"),
        (("--run", "."), "holds no model; give a run folder"),
        (("--archive", __file__), "isn't a valid archive"),
        (("--run", "RUN", "--copy"), "--copy needs --sort-into"),
        (("--run", "RUN", "--csv", "a", "--jsonl", "a"), "name two files"),
        (("--run", "RUN", "--csv", "-", "--json"), "leave one out"),
        (("--run", "RUN", "--csv", "."), "is a folder; name a file"),
    ],
)
def test_wrong_options(
    inside: FlyObj,
    complaint: Complaint,
    run: Path,
    folder: Path,
    options: tuple[str, ...],
    message: str,
) -> None:
    words = [run if word == "RUN" else word for word in options]
    assert message in complaint(inside("predict", folder, *words, code=2))
