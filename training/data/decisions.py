"""What people have decided about photos whose label is suspect: suspects.csv, read and carried out.

The table is written by `training.suspects` and may come back from a browser or a spreadsheet: with
semicolons, a byte order mark, other line ends, columns in another order or more of them.
"""

import getpass
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.errors import InputError
from model.layout import class_name
from model.text import did_you_mean
from report.progress import say
from report.tables import read_edited_csv
from training.data.manifest import NAME, Reason, Row, read_manifest, target

SUSPECTS = "suspects.csv"
HEADER = ("path", "label", "suggested", "score", "reason", "decision")
KEEP, DROP, RELABEL = "keep", "drop", "relabel"
MANY = 0.01  # of the photos are undecided suspects, from which training warns
_REMEDY = f"give the {SUSPECTS} of `flyobj data suspects`, or what its page has handed out"


@dataclass(frozen=True)
class Suspect:
    """A line of the table. `reason` is empty for a photo that is no suspect, as is an open decision.

    `suggested` is the class that "relabel" gives.
    """

    path: str
    label: str = ""
    suggested: str = ""
    score: str = ""
    reason: str = ""
    decision: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is a suspect that nobody has decided about."""
        return bool(self.reason) and not self.decision


@dataclass(frozen=True)
class Decisions:
    """The lines of a table that say something, who decided, and when the table was last saved."""

    table: Path
    by: str
    at: str  # UTC, as ISO 8601 has it
    lines: tuple[Suspect, ...]


def default_folder(data: Path) -> Path:
    """Where `flyobj data suspects` puts its table, and where it is looked for: DATA-suspects."""
    data = data.absolute()
    return data.with_name(f"{data.name}-suspects")


def read_suspects(table: Path) -> list[Suspect]:
    """Read the table, however a spreadsheet has saved it.

    Raises:
        InputError: it can't be read, lacks a column, or has two decisions for one photo.
    """
    lines = read_edited_csv(table, _REMEDY)
    names = [name.strip().casefold() for name in next(lines, [])]
    if lacking := [name for name in ("path", "decision") if name not in names]:
        raise InputError(f"{str(table)!r} has no column {lacking[0]!r} in its first line; {_REMEDY}")
    places = {name: names.index(name) for name in HEADER if name in names}
    found: dict[str, Suspect] = {}
    for line in lines:
        if not any(line):  # spreadsheets leave lines of nothing but separators
            continue
        cells = {name: line[at] for name, at in places.items() if at < len(line)}
        decision = cells.get("decision", "").strip()
        word = decision.casefold() if decision.casefold() in (KEEP, DROP, RELABEL) else decision
        suspect = Suspect(**{**cells, "decision": word})
        other = found.get(suspect.path)
        if other and other.decision and suspect.decision:
            raise InputError(
                f"{str(table)!r} has two decisions for {suspect.path!r}, {other.decision!r} and "
                f"{suspect.decision!r}; remove one of the lines"
            )
        found[suspect.path] = suspect if not other or suspect.decision else other
    return list(found.values())


def read_decisions(table: Path, by: str | None = None) -> Decisions:
    """Read the lines that decide, or wait for that; `by` is who decided, by default this user.

    Raises:
        InputError: as `read_suspects`.
    """
    lines = tuple(s for s in read_suspects(table) if s.reason or s.decision)
    saved = datetime.fromtimestamp(table.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return Decisions(table.absolute(), by or _user(), saved, lines)


def apply_decisions(decisions: Decisions, rows: Sequence[Row], classes: Iterable[str]) -> dict[str, Any]:
    """Relabel and drop rows as decided, note it in them, and return the counts for the summary.

    Raises:
        InputError: a decision is about a photo that isn't there, or names no class.
    """
    table, by_path = str(decisions.table), {row.path: row for row in rows}
    decided = [s for s in decisions.lines if s.decision]
    if gone := [s for s in decided if s.path not in by_path]:
        raise InputError(
            f"{table!r} decides about {len(gone)} of {len(decided)} photos that aren't there, such as "
            f"{gone[0].path!r}; put them back, clear their "
            "decisions, or give the folder that `flyobj data suspects` was run on"
        )
    known = {class_name(name): name for name in classes}
    chosen = {s.path: _new_class(s, by_path[s.path], known, table) for s in decided}
    taken = {(row.split, row.class_name, row.file) for row in rows}
    counts: Counter[str] = Counter()
    for suspect in decisions.lines:
        row = by_path.get(suspect.path)
        if row is None or not row.kept:
            continue
        row.suspect, new = suspect.reason, chosen.get(suspect.path)
        if not suspect.decision:
            counts["undecided"] += 1
            continue
        row.decided_by, row.decided_at = decisions.by, decisions.at
        row.decision = KEEP if new == row.class_name else RELABEL if new else DROP
        counts[row.decision] += 1
        if new is None:
            row.drop(Reason.DECIDED)
        elif new != row.class_name:
            row.label, row.class_name = row.class_name, new
            if (row.split, new, row.file) in taken:  # a file of the new class has its name
                row.file = f"{row.label}/{row.file}"
            taken.add((row.split, new, row.file))
    counted = {name: counts[name] for name in (RELABEL, DROP, KEEP, "undecided")}
    said = asdict(decisions) | {"table": table, **counted}
    return {name: value for name, value in said.items() if name != "lines"}


def in_words(counts: dict[str, Any]) -> str:
    """Say what `apply_decisions` has counted."""
    return (
        f"decisions of {counts['by']}, {counts['at']}: {counts['table']!r}; it relabels "
        f"{counts[RELABEL]}, drops {counts[DROP]} and keeps {counts[KEEP]} photos, and leaves "
        f"{counts['undecided']} suspects undecided"
    )


@dataclass(frozen=True)
class Change:
    """A label that was decided to be wrong: what it was, and the class decided for, "" for none."""

    label: str
    now: str

    @property
    def dropped(self) -> bool:
        """Whether the photo belongs to no class."""
        return not self.now


def read_changes(data: Path) -> tuple[Path, dict[str, Change]]:
    """Read which photos' labels were decided to be wrong, by their paths below `data`, and from where.

    From the manifest, which has them changed, or from the table beside the folder, which hasn't.
    """
    if (data / NAME).is_file():
        rows = [row for row in read_manifest(data / NAME) if row.decision in (RELABEL, DROP)]
        if rows:
            return data / NAME, {
                target(r): Change(r.label, r.class_name) if r.kept else Change(r.class_name, "")
                for r in rows
            }
    table = default_folder(data) / SUSPECTS
    if not table.is_file():
        return table, {}
    found = [s for s in read_suspects(table) if s.decision not in ("", KEEP)]
    return table, {s.path: Change(_label(s), _decided_class(s)) for s in found}


def warn_of_suspects(data: Path, photos: int) -> None:
    """Say so if more than `MANY` of the labels in `data` are suspect, and nobody has decided."""
    try:
        found = open_suspects(data)
    except InputError as error:  # training doesn't need it
        say(f"warning: {error}")
        return
    if found and found[0] > MANY * photos:
        say(
            f"warning: {found[0]} labels are suspect and nobody has decided about them, by "
            f"{str(found[1])!r}; a wrong label costs more than any setting gains: look at them in the "
            "page of `flyobj data suspects`, and give what you decide to `flyobj data prepare "
            "--decisions`"
        )


def open_suspects(data: Path) -> tuple[int, Path] | None:
    """Count the suspects of `data` that nobody has decided about; None if none were looked for.

    They are in the manifest, if `flyobj data prepare` was given decisions, or else in the table that
    `flyobj data suspects` has put beside the folder. Returns that file too.
    """
    if (data / NAME).is_file():
        rows = [row for row in read_manifest(data / NAME) if row.kept]
        if any(row.suspect or row.decision for row in rows):
            return sum(bool(row.suspect) and not row.decision for row in rows), data / NAME
    table = default_folder(data) / SUSPECTS
    if not table.is_file():
        return None
    return sum(suspect.is_open for suspect in read_suspects(table)), table


def _label(suspect: Suspect) -> str:
    return suspect.label or suspect.path.split("/")[-2]


def _decided_class(suspect: Suspect) -> str:
    named = {DROP: "", RELABEL: suspect.suggested, KEEP: _label(suspect)}
    return named.get(suspect.decision, suspect.decision)


def _new_class(suspect: Suspect, row: Row, known: dict[str, str], table: str) -> str | None:
    """Return the class that was decided for, None for none."""
    if suspect.decision in (KEEP, DROP):
        return row.class_name if suspect.decision == KEEP else None
    name = _decided_class(suspect)
    if class_name(name) not in known:
        close = did_you_mean(name, known.values())
        raise InputError(
            f"{table!r}: {suspect.path!r} is decided to be {name!r}, which is no class; allowed are "
            f"{KEEP}, {DROP}, {RELABEL} (to the class under 'suggested') or one of "
            f"{sorted(known.values())}{close}"
        )
    return known[class_name(name)]


def _user() -> str:
    user = ""
    with suppress(KeyError, OSError, ImportError):  # a container's user may have no name
        user = getpass.getuser()
    return f"{user}@{socket.gethostname()}"
