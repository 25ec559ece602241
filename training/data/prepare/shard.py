"""A shard on disk: what a look at part of the files found, before any verdict that needs all of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from model.errors import InputError
from model.files import read_json, reading, write_json
from model.typed import check_fields
from training.data import manifest
from training.data.manifest import Row, read_manifest, write_manifest
from training.data.prepare.folder import SHARD
from training.data.prepare.settings import PrepareSettings

_REMEDY = "make it again with `flyobj data prepare --shard`"


@dataclass(frozen=True)
class ScanResult:
    """The rows of `part` of a source: "2/4" is the second of four, "1/1" all of it."""

    source: Path  # absolute
    settings: PrepareSettings
    classes: tuple[str, ...]
    splits: dict[str, str]  # those given, and their folders; none if one is to be made
    unentered: dict[str, str]
    part: str
    rows: list[Row]


def parse_part(part: str) -> tuple[int, int]:
    """Read "I/N" as two numbers.

    Raises:
        InputError: it says something else.
    """
    index, _, count = part.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= 10_000):
        raise InputError(f"shard {part!r} isn't I/N with I from 1 to N, say 1/4 for the first of four")
    return int(index), int(count)


def write_shard(seen: ScanResult, folder: Path) -> None:
    """Write the rows and what they are of."""
    write_manifest(seen.rows, folder / manifest.NAME)
    document = asdict(replace(seen, rows=[])) | {"source": str(seen.source)}
    write_json({key: value for key, value in document.items() if key != "rows"}, folder / SHARD)


def join_shards(folders: Sequence[Path]) -> ScanResult:
    """Read all N shards of a source, and put their rows together as one run would have them.

    Raises:
        InputError: one is missing, given twice, no shard, or of another source or other settings.
    """
    shards = [_read_shard(path) for path in folders]
    if not shards:
        raise InputError("no shard given; give the folders made with --shard 1/N to N/N")
    first = shards[0]
    for path, other in zip(folders, shards, strict=True):
        if replace(other, part="", rows=[]) != replace(first, part="", rows=[]):
            raise InputError(
                f"{str(path)!r} and {str(folders[0])!r} differ in source, settings or folders; make "
                f"all "
                "shards of one source with the same options"
            )
    _require_all(Counter(shard.part for shard in shards))
    rows = sorted((row for shard in shards for row in shard.rows), key=lambda row: row.path)
    return replace(first, part="1/1", rows=rows)


def _require_all(parts: Counter[str]) -> None:
    count = parse_part(next(iter(parts)))[1]
    expected = {f"{i}/{count}" for i in range(1, count + 1)}
    if set(parts) != expected or max(parts.values()) > 1:
        twice = sorted(part for part, n in parts.items() if n > 1)
        raise InputError(
            f"shards missing: {sorted(expected - set(parts))}, given twice: {twice}, of another "
            f"division: {sorted(set(parts) - expected)}; give each of the {count} shards once"
        )


def _read_shard(folder: Path) -> ScanResult:
    path = folder / SHARD
    if not path.exists():
        raise InputError(
            f"{str(folder)!r} has no {SHARD}; give folders made by `flyobj data prepare --shard I/N`"
        )
    rows = read_manifest(folder / manifest.NAME)
    with reading(path, _REMEDY):
        document = read_json(path, remedy=_REMEDY)
        check_fields(ScanResult, document, repr(str(path)), _REMEDY)
        seen = ScanResult(
            Path(document.pop("source")),
            PrepareSettings(**document.pop("settings")),
            tuple(document.pop("classes")),
            **document,
            rows=rows,
        )
        parse_part(seen.part)
    return seen
