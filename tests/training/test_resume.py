"""A training run that is stopped, killed, moved or shared by processes comes to the same end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.bundle import read_bundle
from model.errors import FlyobjError, InputError, Interrupted
from model.files import read_json, write_json
from model.limits import RGB
from training.calibrate import recalibrate
from training.data.photos import read_split
from training.fit import checkpoint, loaders
from training.fit.lr_finder import DEFAULT
from training.fit.settings import TrainSettings
from training.fit.stage import StageLoop
from training.run import find_lrs, resume, train

pytestmark = pytest.mark.slow

MakeData = Callable[..., Path]
TINY = TrainSettings("none", size=32, epochs=4, batch_size=8, workers=0, seed=3, logger="csv")


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "weights.safetensors")


def same(one: Path, other: Path) -> bool:
    states = weights_of(one), weights_of(other)
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def figures(run: Path) -> list[dict[str, Any]]:
    """All that a run has found, but for the clock's."""
    clock = ("seconds", "photos_per_s")
    stages = read_json(run / "run.json")["stages"]
    return [{k: v for k, v in stage.items() if k not in clock} for stage in stages]


@pytest.fixture(scope="module")
def whole_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos, and a run over them that nobody has stopped. Read only."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(dataset, out, TINY)
    return dataset, out


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the n-th epoch of a run end in an exception."""
    epoch = StageLoop.epoch

    def arrange(n: int, error: BaseException) -> None:
        count = iter(range(1, 1000))

        def stopping(self: StageLoop, progress: Any) -> Any:
            done = epoch(self, progress)  # so the random numbers are used up
            if next(count) == n:
                raise error
            return done

        monkeypatch.setattr(StageLoop, "epoch", stopping)

    yield arrange
    monkeypatch.undo()


@pytest.mark.parametrize("at", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_end(
    whole_run: tuple[Path, Path], tmp_path: Path, stop_after: Callable[..., None], at: int
) -> None:
    """To the bit, whether within a stage or at its beginning."""
    data, whole = whole_run
    assert same(whole, whole)
    stopped = tmp_path / "stopped"
    stop_after(at, KeyboardInterrupt())
    with pytest.raises(Interrupted, match=f"continue with `flyobj train --resume {stopped}`") as error:
        train(data, stopped, TINY)
    assert error.value.exit_code == 130
    assert not (stopped / "bundle").exists()
    stop_after(99, KeyboardInterrupt())
    report = resume(stopped, {})
    assert report is not None
    assert same(whole, stopped)
    assert figures(whole) == figures(stopped)
    with pytest.raises(InputError, match="is finished"):
        resume(stopped, {})


def test_a_refit_learns_from_all_photos_and_resumes(
    whole_run: tuple[Path, Path], tmp_path: Path, stop_after: Callable[..., None]
) -> None:
    """The figures and the calibration are those of the network before it."""
    data, plain = whole_run
    settings = replace(TINY, refit=True)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(data, whole, settings)
    report, before = read_json(whole / "run.json"), read_json(plain / "run.json")
    assert figures(whole) == figures(plain)
    assert report["calibration"] == {**before["calibration"], "novelty": None}  # no photo is unseen
    assert before["refit"] is None
    assert report["refit"]["photos"] == sum(report["photos"].values()) == 32
    assert [s["epochs"] for s in report["refit"]["stages"]] == [3, 1]
    assert not same(whole, plain)
    with pytest.raises(InputError, match="has learned from its validation photos too"):
        recalibrate(whole, None, reject_rate=0.1)
    stop_after(6, KeyboardInterrupt())  # 4 epochs, then 4 of the refit
    with pytest.raises(Interrupted):
        train(data, stopped, settings)
    assert (stopped / "refit" / checkpoint.LAST).is_file()
    stop_after(99, KeyboardInterrupt())
    resume(stopped, {})
    assert same(whole, stopped)
    assert not list(stopped.rglob("last.ckpt"))


def test_a_refit_needs_photos_for_validation_to_give_back(
    whole_run: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = read_json(whole_run[1] / "settings.json")
    asked["settings"]["refit"] = True
    write_json(asked | {"validation_files": []}, tmp_path / "settings.json")
    with pytest.raises(InputError, match=r"refit gives the validation photos back .* the run has none"):
        resume(tmp_path, {})


OLD_NAMES = {
    **{"lr": "rate", "lr_from": "rate_from", "trainable_blocks": "open_blocks"},
    **{"lr_scale": "share", "current": "running"},
}


def with_old_names(document: Any) -> Any:
    """Name things as earlier versions did."""
    if isinstance(document, list):
        return [with_old_names(value) for value in document]
    if not isinstance(document, dict):
        return document
    own = {"lr"} if "betas" in document else set()  # an optimizer's
    return {k if k in own else OLD_NAMES.get(k, k): with_old_names(v) for k, v in document.items()}


@pytest.mark.parametrize("old", [False, True])
def test_pretrained_runs_go_on_with_what_their_range_tests_found(
    photo_folder: MakeData,
    weights_file: Path,
    tmp_path: Path,
    stop_after: Callable[..., None],
    old: bool,
) -> None:
    """With the weights' average, mixing and uneven classes, all of which have state or are random."""
    data = photo_folder(train={"a": 20, "b": 7})
    recipe = {"ema": 0.9, "mix": "cutmix", "layer_decay": 0.8, "label_smoothing": 0.1, "target": 1.0}
    recipe |= {"augment": "mission", "head": "linear"} if not old else {}
    settings = TrainSettings(str(weights_file), 32, 4, 2, 0, logger="csv", **recipe)
    train(data, tmp_path / "whole", settings)
    stop_after(3 if old else 2, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        train(data, tmp_path / "stopped", settings)
    stop_after(99, KeyboardInterrupt())
    if old:  # an earlier version's
        last, plan = tmp_path / "stopped" / checkpoint.LAST, tmp_path / "stopped" / "settings.json"
        document = with_old_names(torch.load(last, weights_only=True))
        assert document["running"]["optimizer"]["param_groups"][1]["share"] == 0.8
        torch.save(document, last)
        asked = with_old_names(read_json(plan))
        for name in ("augment", "head", "refit"):
            del asked["settings"][name]
        write_json(asked, plan)
    resume(tmp_path / "stopped", {})
    assert same(tmp_path / "whole", tmp_path / "stopped")
    assert figures(tmp_path / "whole") == figures(tmp_path / "stopped")
    head, whole = figures(tmp_path / "stopped")
    assert (head["lr"], head["lr_from"]) == (DEFAULT, "default (few steps)")
    assert (tmp_path / "stopped" / "logs" / "range_test-whole.csv").is_file()
    assert "range test" in whole["lr_from"]
    assert read_bundle(tmp_path / "stopped" / "bundle").spec.head == ("mlp" if old else "linear")


def test_the_seed_decides_the_run_and_the_workers_do_not(
    whole_run: tuple[Path, Path], tmp_path: Path
) -> None:
    data, whole = whole_run
    for name, changes in (("again", {"workers": 1}), ("other", {"seed": 4})):
        train(data, tmp_path / name, TrainSettings(**{**TINY.__dict__, **changes}))
    assert same(whole, tmp_path / "again")
    assert not same(whole, tmp_path / "other")


def test_a_killed_run_loses_no_more_than_its_epoch(whole_run: tuple[Path, Path], tmp_path: Path) -> None:
    data, whole = whole_run
    killed = tmp_path / "killed"
    options = ["--weights", "none", "--size", 32, "--epochs", 4, "--batch-size", 8, "--workers", 1]
    command = ["train", data, "--out", killed, *options, "--seed", 3, "--logger", "csv"]
    process = subprocess.Popen([sys.executable, "-m", "cli", *map(str, command)])
    rows = killed / "logs" / "csv" / "half-size" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (rows.exists() and len(rows.read_text().splitlines()) > 2):  # two epochs
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = checkpoint.load(killed, read_split(data, "train").classes)
    assert kept is not None
    done = sum(r.epochs for r in kept.results) + (len(kept.current.epochs) if kept.current else 0)
    assert done >= 1  # the second's row is written before its checkpoint
    assert (killed / "checkpoints" / "last.ckpt").exists()
    resume(killed, {})
    assert same(whole, killed)


def test_a_run_whose_loader_is_killed_says_how_to_go_on(
    photo_folder: MakeData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, own = photo_folder(train={"a": 4, "b": 4}), tmp_path / "run", os.getpid()
    decode = loaders.decode_photo

    def die(content: bytes, **options: Any) -> RGB:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(content, **options)

    monkeypatch.setattr(loaders, "decode_photo", die)
    with pytest.raises(FlyobjError, match="a process that loads photos was killed") as error:
        train(data, out, replace(TINY, workers=1))
    words = f"continue with `flyobj train --resume {out}`, with fewer --workers"
    assert words in str(error.value)
    assert "DataLoader worker (pid" in str(error.value)
    assert error.value.exit_code == 1
    assert read_json(out / "failed.json")["error"] == str(error.value)
    assert resume(out, {"workers": 0})
    with pytest.raises(FlyobjError, match=r"was killed, .*; try again with fewer --workers"):
        find_lrs(data, tmp_path / "lrs", replace(TINY, workers=1))


def test_a_loss_that_is_no_number_can_be_resumed_with_a_lower_learning_rate(
    whole_run: tuple[Path, Path], tmp_path: Path, stop_after: Callable[..., None]
) -> None:
    data, _ = whole_run
    run = tmp_path / "nan"
    stop_after(2, FlyobjError("the loss became nan"))
    with pytest.raises(FlyobjError, match="the loss became nan"):
        train(data, run, TINY)
    failed = read_json(run / "failed.json")
    assert (failed["error"], failed["stage"]) == ("the loss became nan", "half-size")
    stop_after(99, KeyboardInterrupt())
    resume(run, {"lr": 1e-4})
    assert not (run / "failed.json").exists()
    stages = read_json(run / "run.json")["stages"]
    assert [(s["lr"], s["lr_from"]) for s in stages] == [(1e-4, "given")] * 2
    assert stages[0]["epochs"] == 3


def test_what_is_no_run_or_another_classes_checkpoint_is_refused(
    photo_folder: MakeData, tmp_path: Path, stop_after: Callable[..., None]
) -> None:
    data, whole = photo_folder(train={"a": 2, "b": 2}), tmp_path / "run"
    stop_after(1, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        train(data, whole, TINY)
    with pytest.raises(InputError, match=r"has no settings\.json; give the run folder"):
        resume(tmp_path / "no", {})
    last = whole / checkpoint.LAST
    last.write_text("words")
    with pytest.raises(InputError, match=r"last\.ckpt' isn't a checkpoint of `flyobj train`"):
        resume(whole, {})
    checkpoint.save(checkpoint.RunProgress(("bee", "wasp"), {}), whole)
    with pytest.raises(InputError, match=r"classes \['bee', 'wasp'\], the run's are \['a', 'b'\]"):
        resume(whole, {})
    shutil.rmtree(data / "train" / "b")
    with pytest.raises(InputError, match=r"has lost the classes \['b'\] since the run began"):
        resume(whole, {})
    document = read_json(whole / "settings.json")
    write_json({**document, "validation_groups": [0]}, whole / "settings.json")
    with pytest.raises(InputError, match="a validation group for each validation photo is needed"):
        resume(whole, {})
    write_json({"data": 3}, whole / "settings.json")
    with pytest.raises(InputError, match=r"settings\.json': data 3 isn't of the type str"):
        resume(whole, {})


def test_a_photo_that_turns_unreadable_is_in_the_report(
    photo_folder: MakeData, tmp_path: Path, stop_after: Callable[..., None]
) -> None:
    data = photo_folder(train={"a": 60, "b": 60})
    settings = TrainSettings("none", 32, 1, 16, 0, logger="csv")
    stop_after(1, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        train(data, tmp_path / "run", settings)
    first = read_json(tmp_path / "run" / "settings.json")["train_files"]
    (data / "train" / first[0]).write_text("words")
    stop_after(99, KeyboardInterrupt())
    resume(tmp_path / "run", {})
    (found,) = read_json(tmp_path / "run" / "run.json")["turned_unreadable"]
    assert found["file"] == str(data / "train" / first[0])
    assert "is no photo" in found["reason"]


def test_a_run_is_resumed_from_any_folder_and_wherever_it_was_moved(
    photo_folder: MakeData,
    weights_file: Path,
    tmp_path: Path,
    stop_after: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Data and weights are given relative to a folder that isn't the one it is resumed in."""
    project = tmp_path / "project"
    photo_folder(train={"a": 3, "b": 3}).rename(make_folder(project / "photos"))
    shutil.copy(weights_file, project / "weights.pt")
    settings = TrainSettings("weights.pt", 32, 2, 4, 0, lr=0.003, target=1.0, logger="csv")
    monkeypatch.chdir(project)
    stop_after(1, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        train(Path("photos"), Path("runs/first"), settings)
    stop_after(99, KeyboardInterrupt())
    monkeypatch.chdir(make_folder(tmp_path / "elsewhere"))

    def copy_run(place: Path) -> Path:
        return shutil.copytree(project / "runs" / "first", place)

    whole = copy_run(tmp_path / "moved" / "run")  # the run alone
    (whole / checkpoint.LAST).unlink()  # killed before the first epoch's end: it needs the weights again
    resume(whole, {})
    before = copy_run(project / "runs" / "before")  # of a version that wrote what it was given
    document = read_json(before / "settings.json")
    del document["data_from_run"]
    write_json({**document, "data": "photos"}, before / "settings.json")
    resume(before, {})
    project.rename(tmp_path / "renamed")  # both
    together = tmp_path / "renamed" / "runs" / "first"
    resume(together, {})
    assert same(whole, tmp_path / "renamed" / "runs" / "before")
    assert same(whole, together)
    assert recalibrate(together, None, None)
    assert read_json(together / "run.json")["data"] == str(tmp_path / "renamed" / "photos")

    lost = shutil.copytree(whole, tmp_path / "lost")
    shutil.rmtree(lost / "bundle")
    with pytest.raises(InputError, match=r"lost the classes.*`flyobj train DATA --resume .*lost`"):
        resume(lost, {})
    (tmp_path / "renamed" / "photos" / "train" / "a" / "0.jpg").rename(tmp_path / "0.jpg")
    with pytest.raises(InputError, match=r"1 of the run's 6 photos aren't there, .*0\.jpg"):
        resume(lost, {}, tmp_path / "renamed" / "photos")
    (tmp_path / "0.jpg").rename(tmp_path / "renamed" / "photos" / "train" / "a" / "0.jpg")
    (lost / checkpoint.LAST).parent.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "renamed" / "weights.pt", make_folder(project) / "weights.pt")
    resume(lost, {}, tmp_path / "renamed" / "photos")
    assert same(whole, lost)


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_two_processes_train_as_one_does(
    whole_run: tuple[Path, Path], tmp_path: Path, flyobj: Callable[..., Any]
) -> None:
    data, whole = whole_run
    options = ["--weights", "none", "--size", 32, "--epochs", 4, "--batch-size", 8, "--workers", 0]
    options += ["--seed", 3, "--logger", "csv", "--devices", 2, "--refit", "--json"]
    said = flyobj("train", data, "--out", tmp_path / "run", *options)
    assert json.loads(said.stdout)["run"] == str(tmp_path / "run")  # only the first has spoken
    one, two = (read_json(run / "run.json") for run in (whole, tmp_path / "run"))
    assert one["validation_files"] == two["validation_files"]
    assert two["refit"]["photos"] == 32
    for stage, other in zip(one["stages"], two["stages"], strict=True):
        assert other["epochs"] == stage["epochs"]
        assert other["val_accuracy"] * 4 in range(5)  # shares of all four photos, not of two
        assert other["val_loss"] == pytest.approx(stage["val_loss"], rel=0.5)
