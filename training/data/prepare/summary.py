"""What the report and the command line say about a prepared folder, counted from its rows."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.files import read_json, reading
from model.layout import SPLITS, TEST, TRAIN, VALIDATION
from model.photo_files import HIDDEN, tally
from model.typed import check_fields
from training.data.grouping import NAME_BEFORE_NUMBER, NOTICED, in_words
from training.data.manifest import Reason
from training.data.prepare.prune import Cluster, Elbow
from training.data.prepare.settings import PrepareSettings
from training.data.prepare.shard import ScanResult
from training.data.split import Leak, few_photos

Summary = dict[str, Any]

_NEWER = ("unentered", "elbows", "grouping", "suspects", "decisions")  # keys that an older summary lacks
_REMEDY = "make it again with `flyobj data prepare`"
CLOSE = 0.15  # so near to --prune-share the share of small photos is a close call
IMBALANCE = 3.0  # the largest class over the smallest, in train, from which a warning is given


def summarize(
    seen: ScanResult,
    clusters: Sequence[Cluster],
    elbows: Sequence[Elbow],
    leaks: Sequence[Leak],
    symbolic_links: int = 0,
    suspects: Sequence[str] = (),
    decisions: dict[str, Any] | None = None,
) -> Summary:
    """Count everything. The same rows give the same summary: it holds no time of day."""
    rows = seen.rows
    kept = [row for row in rows if row.kept]
    photos = Counter((row.class_name, row.split) for row in kept)
    lost = Counter(row.class_name for row in rows if not row.kept)
    splits = [split for split in SPLITS if split != VALIDATION or VALIDATION in seen.splits]
    per_class = {
        name: {**{split: photos[name, split] for split in splits}, "dropped": lost[name]}
        for name in seen.classes
    }
    dropped = Counter(row.reason for row in rows if not row.kept)
    noted = Counter(row.reason for row in kept if row.reason)
    across = len({leak.group for leak in leaks if leak.group})
    summary = {
        "made_by": "flyobj data prepare",
        "source": str(seen.source),
        "settings": asdict(seen.settings),
        "files": len(rows),
        "kept": len(kept),
        "bytes": sum(row.bytes for row in rows),
        "dropped": {str(reason): dropped[reason] for reason in Reason if dropped[reason]},
        "noted": {str(reason): noted[reason] for reason in Reason if noted[reason]},
        "classes": per_class,
        "split": "given" if TEST in seen.splits else "made",
        "given": seen.splits,
        "symbolic_links": symbolic_links,
        "groups": len({row.group for row in kept if row.group}),
        "grouping": in_words((row.group for row in kept), _how(seen.settings.group_regex), across),
        "suspects": list(suspects),
        "clusters": [asdict(cluster) for cluster in clusters],
        "elbows": [asdict(elbow) for elbow in elbows],
        "leaks": [asdict(leak) for leak in leaks],
        "decisions": decisions,
        "unentered": seen.unentered,
        "unopened": tally(row.detail for row in rows if row.reason is Reason.UNOPENED),
    }
    return {**summary, "warnings": _warnings(summary)}


@dataclass(frozen=True)
class _Written:
    """The types of what `summarize` gives."""

    source: str
    settings: PrepareSettings
    files: int
    kept: int
    bytes: int
    dropped: dict[str, int]
    noted: dict[str, int]
    classes: dict[str, dict[str, int]]
    split: str
    groups: int
    clusters: list[Cluster]
    elbows: list[Elbow]
    leaks: list[Leak]
    warnings: list[str]
    unentered: dict[str, str]
    grouping: str
    suspects: list[str]
    decisions: dict[str, str | int] | None


def _how(group_regex: str | None) -> str:
    """Say how groups were found; "" if none were looked for."""
    return NOTICED if group_regex is None else group_regex and f"by {group_regex}"


def read_summary(path: Path) -> Summary:
    """Read what was written of `summarize`; raises `InputError` if it is anything else."""
    with reading(path, _REMEDY):
        document: Summary = read_json(path, remedy=_REMEDY)
        check_fields(_Written, document, repr(str(path)), _REMEDY)
        _ = [document[name] for name in _Written.__annotations__ if name not in _NEWER]
        _ = PrepareSettings(**document["settings"]), document["settings"]["seed"]
        document |= {"elbows": document.get("elbows", []), "decisions": document.get("decisions")}
        kinds = (Cluster, "clusters"), (Elbow, "elbows"), (Leak, "leaks")
        for kind, name in kinds:
            document[name] = [asdict(kind(**entry)) for entry in document[name]]
        for counts in document["classes"].values():
            _ = [counts[name] for name in (TRAIN, TEST, "dropped")]
        if not document["classes"]:
            raise ValueError("no classes")
    return document


def _warnings(summary: Summary) -> list[str]:
    """Say what someone should look at before training."""
    classes, found = summary["classes"], []
    train = {name: counts["train"] for name, counts in classes.items()}
    small, large = min(train, key=lambda n: train[n]), max(train, key=lambda n: train[n])
    ratio = train[large] / train[small] if train[small] else math.inf
    if ratio >= IMBALANCE:
        found.append(
            f"the classes are out of balance: {large!r} has {train[large]} training photos, {small!r} "
            f"{train[small]} ({ratio:.1f} times as many); add photos of the small one"
        )
    for name, counts in classes.items():
        empty = [split for split in SPLITS if counts.get(split) == 0]
        found += [f"class {name!r} has no photo in {split}" for split in empty]
    limit = summary["settings"]["prune_share"]
    for c in summary["clusters"]:
        if c["small"] and abs(c["share"] - limit) < CLOSE * limit:
            what = "files under a sixteenth" if c["kind"] == "bytes" else "sides under a quarter"
            found.append(
                f"class {c['class_name']!r}: {c['share']:.2%} have {what} of its median, and "
                f"{limit:.2%} decides: {c['photos']} photos were {'kept' if c['kept'] else 'dropped'}; "
                "look at them, and set --prune-share"
            )
    if conflicts := summary["dropped"].get(Reason.CONFLICT):
        found.append(f"{conflicts} photos are under two classes and were dropped: someone has to look")
    if leaking := sum(leak["open"] for leak in summary["leaks"]):
        kinds = tally(leak["kind"] for leak in summary["leaks"] if leak["open"])
        found.append(
            f"{leaking} leaks between the splits remain ({kinds}), which flatter the model; prepare the "
            "photos as class folders without splits, and none will"
        )
    if suspects := summary["suspects"]:
        found.append(
            f"names and colours suggest {len(suspects)} more groups, too large to be sure, such as "
            f"{suspects[0]!r}; if they are clips, give --group-regex {NAME_BEFORE_NUMBER!r}"
        )
    if few := few_photos(train):
        found.append(few)
    if unopened := summary["unopened"]:
        found.append(f"files that can't be opened: {unopened}")
    if blocked := [why for why in summary["unentered"].values() if why != HIDDEN]:
        found.append(f"{len(blocked)} folders weren't searched: {tally(blocked)}")
    if links := summary["symbolic_links"]:
        found.append(
            f"{links} photos are symbolic links, since {summary['source']!r} can't be linked in another "
            "way: they break when it is moved; --copy makes copies"
        )
    return found
