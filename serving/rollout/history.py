"""What was done to the versions, when and by whom: `deployment-history.jsonl` in the model store.

One JSON object a line, added at the end and never changed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from model.errors import InputError
from model.files import read_text
from model.typed import check_fields
from serving.rollout.deployment import who

FILE = "deployment-history.jsonl"


@dataclass(frozen=True)
class HistoryEntry:
    """One operation; `outcome` is "done" or why it failed."""

    time: str
    operation: str
    version: str | None
    outcome: str
    who: str


@contextmanager
def record(store: Path, operation: str, version: str | None) -> Iterator[None]:
    """Note how what is done inside ends."""
    try:
        yield
    except BaseException as error:
        _append(store, operation, version, str(error).splitlines()[0] if str(error) else repr(error))
        raise
    _append(store, operation, version, "done")


def read_history(store: Path) -> list[HistoryEntry]:
    """Read all entries, oldest first; a line that was cut short by a crash is left out."""
    path = store / FILE
    entries = []
    remedy = "move it away, and a new one is begun"
    for line in read_text(path, remedy).splitlines() if path.exists() else []:
        with suppress(ValueError, TypeError, AttributeError, RecursionError, InputError):
            document = json.loads(line)
            check_fields(HistoryEntry, document, "a line", remedy)
            entries.append(HistoryEntry(**document))
    return entries


def _append(store: Path, operation: str, version: str | None, outcome: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps(asdict(HistoryEntry(now, operation, version, outcome, who())), ensure_ascii=False)
    # A full disk must not undo what was done.
    with suppress(OSError), (store / FILE).open("ab") as file:
        file.write(line.encode("utf-8", "replace") + b"\n")
        file.flush()
        os.fsync(file.fileno())
