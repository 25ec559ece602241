"""`checkpoints/last.ckpt`: all that resuming needs, as it stood when the last epoch ended.

It is written beside its place and renamed, so a run that is killed has the one before or the new one. It
holds tensors, numbers, strings, lists and dictionaries only, and is read with `weights_only=True`.
"""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import FlyobjError, InputError
from model.files import first_line, write_bytes
from model.text import shell_quote
from training.fit.old_names import with_new_names
from training.fit.schedule import Epoch, Stage, StageResult

LAST = Path("checkpoints", "last.ckpt")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

State = dict[str, Tensor]


@dataclass
class StageProgress:
    """A stage in progress."""

    why: str  # the reason for running it
    lr: float  # the highest learning rate, and in `lr_from` how it was chosen
    lr_from: str
    epochs: list[Epoch] = field(default_factory=list)  # a row of figures for each epoch that is done
    best: State = field(default_factory=dict)  # the network at its best epoch
    optimizer: dict[str, Any] = field(default_factory=dict)  # its state
    # The state of the weights' moving average, if there is one.
    average: State = field(default_factory=dict)
    extra_s: float = 0.0  # seconds for what isn't in `epochs`, the range test


@dataclass
class RunProgress:
    """Where a run stands: stages that are done, the one in progress, the network and its best stage."""

    classes: tuple[str, ...]
    network: State
    results: list[StageResult] = field(default_factory=list)
    best: State = field(default_factory=dict)
    current: StageProgress | None = None


def save(progress: RunProgress, run: Path) -> None:
    """Write `last.ckpt` in one piece."""
    stream = io.BytesIO()
    torch.save(_plain(progress), stream)
    (run / LAST).parent.mkdir(exist_ok=True)
    write_bytes(stream.getbuffer(), run / LAST)


def _plain(value: Any) -> Any:
    """Turn dataclasses into dictionaries, as `asdict` does, but tensors stay what they are.

    `asdict` copies each, and what two states share, as the network and its best epoch may, would be
    written twice.
    """
    if is_dataclass(value):
        return {name: _plain(inner) for name, inner in vars(value).items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def load(run: Path, classes: tuple[str, ...]) -> RunProgress | None:
    """Read `last.ckpt`; None if no stage was ever begun.

    Raises:
        InputError: it is damaged, or of a model with other classes.
    """
    path = run / LAST
    if not path.exists():
        return None
    try:
        document = with_new_names(torch.load(path, map_location="cpu", weights_only=True))
        results = [StageResult(**{**r, "stage": Stage(**r["stage"])}) for r in document["results"]]
        current = document["current"] and StageProgress(**document["current"])
        progress = RunProgress(**{**document, "results": results, "current": current})
    except Exception as error:  # unpickling raises whatever the file leads it to
        raise InputError(
            f"{str(path)!r} isn't a checkpoint of `flyobj train` ({first_line(error)}); start a new run"
        ) from error
    if tuple(progress.classes) != classes:
        raise InputError(
            f"{str(path)!r} is of a model with the classes {list(progress.classes)}, the run's are "
            f"{list(classes)}; put the run's own checkpoint back, or start a new run"
        )
    return progress


@contextmanager
def explain_full_disk(run: Path) -> Iterator[None]:
    """Turn a full disk into an error that says how to continue."""
    try:
        yield
    except (OSError, FlyobjError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in _FULL:
            raise
        how = f"flyobj train --resume {shell_quote(run)}" if (run / LAST).is_file() else "another --out"
        raise FlyobjError(
            f"{str(run)!r} can't be written ({cause.strerror}); make room, then continue with {how}"
        ) from error
