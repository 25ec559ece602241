"""`flyobj data prepare`, `merge` and `report`: the steps in order.

A shard is the first half, for a part of the files. Merging gives the second half the rows of all shards,
so it ends where one run would.
"""

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from model.errors import InputError
from model.files import atomic_file, write_json
from model.layout import TEST
from report.progress import progress
from training.data import manifest
from training.data.decisions import Decisions, apply_decisions
from training.data.grouping import Look, find_groups
from training.data.manifest import Row, read_manifest, write_manifest
from training.data.prepare import folder as folders
from training.data.prepare.clean import clean
from training.data.prepare.prune import prune
from training.data.prepare.report import write_report
from training.data.prepare.scan import scan
from training.data.prepare.settings import PrepareSettings
from training.data.prepare.shard import ScanResult, join_shards, parse_part, write_shard
from training.data.prepare.summary import Summary, read_summary, summarize
from training.data.prepare.walk import walk
from training.data.split import leaks, split


def prepare(
    source: Path,
    out: Path,
    settings: PrepareSettings,
    *,
    copy: bool = False,
    force: bool = False,
    workers: int | None = None,
    decisions: Decisions | None = None,
) -> Summary:
    """Make the folder `out` from `source`, and return the summary that is in it too.

    Raises:
        InputError: the source, the folder to make or what is in the source doesn't do.
        FlyobjError: the folder can't be written, or a worker died.
    """
    _check_apart(source, out)
    with folders.new_folder(out, force) as room:
        return _finish(_look(source, settings, "1/1", workers), room, copy, decisions)


def prepare_shard(
    source: Path,
    out: Path,
    settings: PrepareSettings,
    part: str,
    *,
    force: bool = False,
    workers: int | None = None,
) -> int:
    """Look at `part` ("I/N") of the files, write what is seen to `out`, and return their number.

    Raises:
        InputError: as `prepare`.
        FlyobjError: as `prepare`.
    """
    _check_apart(source, out)
    with folders.new_folder(out, force) as room:
        seen = _look(source, settings, part, workers)
        write_shard(seen, room)
    return len(seen.rows)


def merge(
    shards: Sequence[Path],
    out: Path,
    *,
    copy: bool = False,
    force: bool = False,
    decisions: Decisions | None = None,
) -> Summary:
    """Make from all shards of a source what one run would have made.

    Raises:
        InputError: the shards don't belong together, or the source isn't there.
        FlyobjError: as `prepare`.
    """
    seen = join_shards(shards)
    if not seen.source.is_dir():
        raise InputError(
            f"the source {str(seen.source)!r} isn't there; mount it where it was for the shards"
        )
    _check_apart(seen.source, out)
    with folders.new_folder(out, force) as room:
        return _finish(seen, room, copy, decisions)


def report(out: Path) -> Path:
    """Write `out`/report.html again, from the manifest and the summary.

    Raises:
        InputError: `out` wasn't made by `prepare`.
    """
    if not (out / folders.SUMMARY).exists():
        raise InputError(
            f"{str(out)!r} has no {folders.SUMMARY}; give a folder made by `flyobj data prepare`"
        )
    summary, rows = read_summary(out / folders.SUMMARY), read_manifest(out / manifest.NAME)
    with atomic_file(out / folders.REPORT) as partial:
        write_report(summary, rows, partial)
    return out / folders.REPORT


def _look(source: Path, settings: PrepareSettings, part: str, workers: int | None) -> ScanResult:
    """Walk the source and look into the files of one part; a file's part is decided by its path."""
    index, count = parse_part(part)
    with progress("finding files"):
        tree = walk(source)
    for row, name in zip(tree.rows, settings.groups_of([r.name for r in tree.rows]), strict=True):
        row.group = name
    files = [row for row in tree.rows if zlib.crc32(os.fsencode(row.path)) % count == index - 1]
    rows = scan(source, files, workers)
    facts = (tree.classes, tree.splits, tree.unentered)
    return ScanResult(source.absolute(), settings, *facts, part, rows)


def _finish(seen: ScanResult, room: Path, copy: bool, decisions: Decisions | None) -> Summary:
    """Decide over the rows and fill the folder `room`."""
    settings, rows = seen.settings, seen.rows
    decided = apply_decisions(decisions, rows, seen.classes) if decisions else None
    with progress("comparing, clustering and splitting"):
        suspects = _notice_groups(rows) if settings.group_regex is None else []
        near = clean(rows, settings)
        clusters, elbows = prune(rows, settings) if settings.prune else ([], [])
        _require_photos(seen.classes, rows)
        if TEST not in seen.splits:
            split(rows, near, settings)
        found = leaks(rows, near, seen.splits) if seen.splits else []
    links = folders.place(rows, seen.source, room, copy)
    with progress("writing manifest and report"):
        write_manifest(rows, room / manifest.NAME)
        summary = summarize(seen, clusters, elbows, found, links, suspects, decided)
        write_json(summary, room / folders.SUMMARY)
        write_report(summary, rows, room / folders.REPORT)
    return summary


def _notice_groups(rows: Sequence[Row]) -> list[str]:
    """Give rows the groups that names and times tell, and return what may be some (see `Grouping`)."""
    own = [row for row in rows if row.kept]
    looks = [Look(row.colour, row.taken) for row in own]
    noticed = find_groups([row.file for row in own], [row.class_name for row in own], looks)
    for row, group in zip(own, noticed.groups, strict=True):
        row.group = group
    return noticed.suspects


def _require_photos(classes: Sequence[str], rows: Sequence[Row]) -> None:
    kept = {row.class_name for row in rows if row.kept}
    for name in classes:
        if name not in kept:
            why = Counter(str(row.reason) for row in rows if row.class_name == name)
            counted = ", ".join(f"{n} {reason}" for reason, n in why.most_common()) or "no file"
            raise InputError(
                f"class {name!r} keeps no photo ({counted}); add photos, remove its folder, or ask for "
                "less (--min-side, --near, --no-prune)"
            )


def _check_apart(source: Path, out: Path) -> None:
    """Refuse a folder inside the source, which would be found in the next run, and the reverse."""
    inside, outside = out.resolve(), source.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise InputError(
            f"{str(out)!r} and the source {str(source)!r} contain one another; name another --out"
        )
