"""What a run says and logs of each epoch."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.fit.schedule import Epoch, Stage
from training.fit.tracking import Tracker, interval_of


def epoch(number: int, seconds: float) -> Epoch:
    figures = {"train_loss": 0.5, "train_accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.5}
    return {"epoch": number, **figures, "photos_per_s": 40.0, "seconds": seconds}


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(9.0, "81 s"), (11.0, "99 s"), (20.0, "3 min"), (600.0, "90 min"), (1000.0, "2 h 30 min")],
)
def test_the_time_that_is_left_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float, left: str
) -> None:
    Tracker(tmp_path, "csv", {}).epoch(Stage("head", 10, 64, 0), 0.01, [epoch(0, seconds)])
    logs, header, line = capsys.readouterr().err.splitlines()
    assert logs.startswith(f"logs: {tmp_path}/logs, a row for each epoch in csv/STAGE/metrics.csv")
    assert header.split()[-1] == "left"
    assert line.startswith("head       1/10 ")
    assert line.endswith(f"s  {left}")


def test_an_epoch_of_an_earlier_version_has_no_interval() -> None:
    old = epoch(0, 1)
    assert interval_of(old) is None
    assert interval_of({**old, "val_accuracy_low": 0.25, "val_accuracy_high": 0.75}) == (0.25, 0.75)


def test_weights_and_biases_gets_every_epoch_and_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for its library: one run for one folder, and steps that count over the stages."""
    begun: list[dict[str, Any]] = []
    logged: list[tuple[int, Any, float]] = []
    finished: list[bool] = []

    def init(**options: Any) -> SimpleNamespace:
        begun.append(options)
        return SimpleNamespace(
            log=lambda row, step: logged.append((step, row["stage"], row["lr"])),
            finish=lambda: finished.append(True),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    run = tmp_path / "run"
    tracker = Tracker(run, "wandb", {"seed": 3})
    rows = [epoch(0, 1), epoch(1, 1)]
    tracker.epoch(Stage("head", 2, 64, 0), 0.01, rows[:1])
    tracker.epoch(Stage("head", 2, 64, 0), 0.01, rows)
    tracker.stage_done(2)
    tracker.epoch(Stage("whole", 2, 64), 0.002, rows[:1])
    assert logged == [(1, "head", 0.01), (2, "head", 0.01), (3, "whole", 0.002)]
    assert not finished
    tracker.close()
    assert finished == [True]
    Tracker(run, "wandb", {})
    Tracker(tmp_path / "other", "wandb", {})
    Tracker(tmp_path / "quiet", "wandb", {}, quiet=True)
    assert [(b["name"], b["config"]) for b in begun] == [
        ("run", {"seed": 3}),
        ("run", {}),
        ("other", {}),
    ]
    assert begun[0]["id"] == begun[1]["id"] != begun[2]["id"]
    assert {b["resume"] for b in begun} == {"allow"}
    assert not (tmp_path / "quiet").exists()
