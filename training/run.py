"""A training run: photos in, `runs/NAME` out.

settings.json  what was asked for, and which photos are in which split; written first
logs/          range tests, TensorBoard and CSV
checkpoints/   last.ckpt while training, for --resume
failed.json    what stopped it, if anything but the user has
refit/         logs and checkpoints of a last fit on all photos, with --refit
run.json       stages and what came of them, why it ended, files left out
bundle/        what is packaged (see `model.bundle`); written last
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from model.bundle import ARCHITECTURES, Bundle, ModelSpec, write_bundle
from model.errors import FlyobjError, InputError, Interrupted
from model.files import write_json
from model.golden import Golden
from model.network import Network
from model.preprocessing import Preprocessing
from model.run_folder import FAILED, SETTINGS
from model.text import shell_quote
from report.progress import say
from training.calibrate import answer_golden, calibrate
from training.data.photos import Photo
from training.fit import checkpoint
from training.fit.distributed import end_together, gather, is_first, launch
from training.fit.plan import Plan, make_plan, read_plan, write_plan
from training.fit.refit import FOLDER, Refit
from training.fit.schedule import StageResult, best_stage_index, end_reason, stages_of
from training.fit.settings import TrainSettings
from training.fit.trainer import Trainer

GOLDEN_PER_CLASS = 2
RUNS = Path("runs")


@dataclass(frozen=True)
class Report:
    """What a run did, stage by stage, and why it ended."""

    run: Path
    stages: tuple[StageResult, ...]
    kept: str
    stopped_because: str


def next_free() -> Path:
    """Return a run folder of the current folder that doesn't exist yet: runs/1, runs/2, ..."""
    taken = [int(path.name) for path in RUNS.glob("*") if path.name.isdecimal() and path.name.isascii()]
    return RUNS / str(max(taken, default=0) + 1)


def train(data: Path, out: Path, settings: TrainSettings) -> Report | None:
    """Train on `data/train` and write the run to the folder `out`, which must not exist yet.

    With several processes, those but the first answer None. They are started by running the command
    line again, so ask for several from a program's main module only.

    Raises:
        InputError: data, weights or settings don't fit.
        FlyobjError: the loss became no number, or the disk is full.
        Interrupted: by Ctrl-C.
    """
    return _run(_plan_new(data, out, settings), settings, out, new=True)


def resume(run: Path, changes: dict[str, Any], data: Path | None = None) -> Report | None:
    """Continue where the last finished epoch of `run` has left, to the same end as without a stop.

    Args:
        run: folder of `train`.
        changes: settings to change: "lr", and "devices", "nodes" or "workers".
        data: where the photos are now, if they were moved.
    """
    plan = read_plan(run, data and data.absolute())
    if (run / "bundle").exists():
        raise InputError(f"run {str(run)!r} is finished; start a new one with another --out")
    settings = replace(plan.settings, **changes)
    return _run(replace(plan, settings=settings), settings, run, new=False)


def find_lrs(data: Path, out: Path, settings: TrainSettings) -> dict[str, float] | None:
    """Run and draw the range test of each stage, each from the weights given, into `out`/logs."""
    fabric, plan = launch(settings, _plan_new(data, out, settings))
    out = fabric.broadcast(out)  # in another process the next free one may be another
    found = {}
    with _explain_interruption(fabric, out), checkpoint.explain_full_disk(out):
        for number, stage in enumerate(stages_of(plan.settings)):
            trainer = Trainer(fabric, plan, out)
            loop = trainer.stage_loop(stage, number)
            with _explain_lost_loader("try again"):
                found[stage.name] = trainer.find_lr(loop, stage).suggestion
    return found if fabric.is_global_zero else None


def _plan_new(data: Path, out: Path, settings: TrainSettings) -> Plan | None:
    """Plan a new run, in the first process; `launch` hands the plan to the others."""
    if not is_first():
        return None
    if os.path.lexists(out):
        raise InputError(
            f"run folder {str(out)!r} exists already; give another or remove it, or continue with "
            f"`flyobj train --resume {shell_quote(out)}`"
        )
    return make_plan(data, settings)


def _run(plan: Plan | None, settings: TrainSettings, run: Path, new: bool) -> Report | None:
    fabric, plan = launch(settings, plan)
    run = fabric.broadcast(run)  # in another process the next free one may be another
    with _explain_interruption(fabric, run), checkpoint.explain_full_disk(run):
        progress = None if new or not is_first() else checkpoint.load(run, plan.classes)
        if fabric.is_global_zero:
            run.mkdir(parents=True, exist_ok=not new)
            write_plan(plan, run)  # again when resuming: a setting may have changed
            if plan.skipped:
                say(f"files left out: {len(plan.skipped)}, listed in {str(run / SETTINGS)!r}")
            (run / FAILED).unlink(missing_ok=True)
        trainer, refit = Trainer(fabric, plan, run, fabric.broadcast(progress)), None
        try:
            with _explain_lost_loader(f"continue with `flyobj train --resume {shell_quote(run)}`,"):
                results = trainer.finish()
                if plan.settings.refit:
                    refit = Refit(fabric, plan, run, results)
                    refit.finish()
        except FlyobjError as error:
            if fabric.is_global_zero:
                write_json({"error": str(error), **(refit or trainer).where()}, run / FAILED)
            raise
        name = results[best_stage_index(results)].stage.name
        report = Report(run, results, name, end_reason(results, plan.settings))
        trainer.tracker.say(f"ended: {report.stopped_because}")
        trainer.tracker.close()
        found = trainer.unreadable.found | (refit.unreadable.found if refit else {})
        unreadable = gather(fabric, found)
        if fabric.is_global_zero:
            _write_run(report, plan, trainer.network, refit, unreadable)
    return report if fabric.is_global_zero else None


@contextlib.contextmanager
def _explain_interruption(fabric: Fabric, run: Path) -> Iterator[None]:
    """Say after Ctrl-C how to continue; end the other processes with this one."""
    try:
        with end_together(fabric):
            yield
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the loaders' processes may be ending too
        raise Interrupted(
            f"training was interrupted; what finished epochs have reached is kept, continue with "
            f"`flyobj train --resume {shell_quote(run)}`"
        ) from error


@contextlib.contextmanager
def _explain_lost_loader(remedy: str) -> Iterator[None]:
    """Say what to do after a process that loads photos was killed: the remedy, with fewer processes."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise FlyobjError(
            f"a process that loads photos was killed, perhaps for lack of memory "
            f"({str(error).splitlines()[0]}); {remedy} with fewer --workers"
        ) from error


def _write_run(
    report: Report, plan: Plan, network: Network, refit: Refit | None, unreadable: dict[Path, str]
) -> None:
    """Write run.json and then the bundle: where that is, the run is finished."""
    document = {
        **plan.to_json(report.run),
        "photos": {"train": len(plan.train), "validation": len(plan.validation)},
        "class_weights": plan.class_weights,
        "turned_unreadable": [{"file": str(p), "reason": r} for p, r in unreadable.items()],
        "stages": [asdict(result) for result in report.stages],
        "kept": report.kept,
        "stopped_because": report.stopped_because,
        "refit": refit and refit.to_json(),
    }
    held = [photo for photo in plan.validation if photo.path not in unreadable]
    spec = ModelSpec(
        plan.classes,
        Preprocessing(plan.settings.size),
        plan.fingerprint,
        _code_version(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        ARCHITECTURES[plan.settings.head],
    )
    bundle = Bundle(spec, network.cpu(), _choose_golden(plan.classes, held))
    numbers = plan.validation_groups or range(len(plan.validation))
    group_of = {photo.path: n for photo, n in zip(plan.validation, numbers, strict=True)}
    # With --refit no photo is left that it hasn't learned from, to say how strange known ones look.
    trained = [] if refit else [photo for photo in plan.train if photo.path not in unreadable]
    bundle, fit = calibrate(bundle, held, np.array([group_of[photo.path] for photo in held]), trained)
    document["calibration"] = asdict(fit)
    write_json(document, report.run / "run.json")
    if refit:
        bundle = answer_golden(replace(bundle, source=refit.network.cpu().eval()))
    write_bundle(bundle, report.run / "bundle")
    for folder in (report.run, report.run / FOLDER):
        (folder / checkpoint.LAST).unlink(missing_ok=True)


def _choose_golden(classes: Sequence[str], held: Sequence[Photo]) -> tuple[Golden, ...]:
    """The first photos of each class; not answered yet."""
    chosen = [
        photo
        for label in range(len(classes))
        for photo in [p for p in held if p.label == label][:GOLDEN_PER_CLASS]
    ]
    return tuple(
        Golden(f"{number:02}{photo.path.suffix}", photo.path.read_bytes(), classes[photo.label], {})
        for number, photo in enumerate(chosen)
    )


def _code_version() -> str:
    """Return git's name for the code, or "unknown" outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
