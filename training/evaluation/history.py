"""What a run's folder says about its training: stages, loss and accuracy by epoch, range tests.

Whatever is missing is left out, so that a bundle without its run, or an older run, can be shown too.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.files import read_json, read_text, reading
from model.typed import check_fields
from training.calibrate import CalibrationFit
from training.fit.old_names import with_new_names
from training.fit.plan import find_data
from training.fit.schedule import StageResult
from training.fit.settings import TrainSettings

_REMEDY = "put it back as `flyobj train` wrote it, or evaluate the bundle in the run's folder"


@dataclass(frozen=True)
class StageRow:
    """One stage as `run.json` has it. `range_test` holds (learning rate, loss) pairs."""

    name: str
    facts: dict[str, Any]  # the result: lr, val_accuracy, best_epoch, seconds, why, ...
    epochs: tuple[dict[str, float], ...]  # columns of the CSV log
    range_test: tuple[tuple[float, float], ...]

    def curve(self, name: str) -> list[float]:
        """A column over the epochs; NaN where it wasn't logged."""
        return [epoch.get(name, float("nan")) for epoch in self.epochs]


@dataclass(frozen=True)
class History:
    """A run. Without stages nothing is known of it."""

    stages: tuple[StageRow, ...] = ()
    run: dict[str, Any] = field(default_factory=dict)  # run.json
    calibration: CalibrationFit | None = None  # on validation; None if an older version has fitted it

    @property
    def stopped_because(self) -> str:
        """Why no further stage was run; "" if that isn't known."""
        return str(self.run.get("stopped_because") or "")

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for; of an older run some are missing."""
        return dict(self.run.get("settings") or {})


@dataclass(frozen=True)
class _Written:
    """The types of what is taken from run.json, where it is there."""

    stages: list[StageResult]
    settings: dict[str, Any] | None
    photos: dict[str, int]
    calibration: CalibrationFit


def read_history(run: Path) -> History:
    """Read the folder of a run."""
    path = run / "run.json"
    if not path.exists():
        return History()
    with reading(path, _REMEDY):
        document = with_new_names(read_json(path, remedy=_REMEDY))
        if not isinstance(document.get("stages"), list):
            return History()
        check_fields(_Written, document, repr(str(path)), _REMEDY)
        check_fields(TrainSettings, document.get("settings") or {}, repr(str(path)), _REMEDY)
        stages = tuple(_stage(entry, run / "logs") for entry in document["stages"])
        fit = document.get("calibration", {})
        return History(stages, document, CalibrationFit(**fit) if "tried" in fit else None)


def data_of(run: Path) -> Path | None:
    """Find the data folder that a run was trained with; None if the run doesn't say."""
    history = read_history(run)
    return find_data(history.run, run) if isinstance(history.run.get("data"), str) else None


def is_own_data(data: Path | None, run: Path) -> bool:
    """Whether `data`, None for the run's own, is the folder that it was trained with.

    Where that is gone, any may be what has become of it.
    """
    theirs = data_of(run)
    if not (data and data.is_dir() and theirs and theirs.is_dir()):
        return True
    return data.samefile(theirs)


def _stage(entry: dict[str, Any], logs: Path) -> StageRow:
    stage = entry.get("stage", {})
    name = str(stage.get("name", ""))
    curve = [(r["lr"], r["loss"]) for r in _rows(logs / f"range_test-{name}.csv") if len(r) >= 2]
    return StageRow(
        name,
        {**stage, **{key: value for key, value in entry.items() if key != "stage"}},
        tuple(_epochs(_rows(logs / "csv" / name / "metrics.csv"))),
        tuple(curve),
    )


def _epochs(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Lightning writes training's and validation's figures of an epoch as rows of their own."""
    merged: dict[float, dict[str, float]] = {}
    for row in rows:
        if "epoch" in row:
            merged.setdefault(row["epoch"], {}).update(row)
    whole = [row for _, row in sorted(merged.items())]
    return [row for row in whole if "val_loss" in row or "train_loss" in row]


def _rows(path: Path) -> list[dict[str, float]]:
    """Read a CSV of numbers; cells that are empty or no number are left out."""
    if not path.exists():
        return []
    with reading(path, "remove it, it is only for the charts"):
        lines = read_text(path, "remove it, it is only for the charts").splitlines()
        return [
            with_new_names(
                {name: float(cell) for name, cell in row.items() if name and _is_number(cell)}
            )
            for row in csv.DictReader(lines)
        ]


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
