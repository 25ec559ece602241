"""Versions, and what came of comparing two, laid out for people."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.evaluation import show_comparison
from report.terminal import Table, new_table

if TYPE_CHECKING:
    from serving.rollout.shadow import ShadowResult

SHOWN_FLIPS = 40


def flatten(document: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Write each value of a document, however deep, for people."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{above}{key} ")
        elif isinstance(value, list | tuple):
            yield above + key, ", ".join(map(str, value))
        else:
            words = {"True": "yes", "False": "no", "None": "-"}
            yield above + key, words.get(str(value), str(value))


def show_shadow(c: "ShadowResult") -> list[Any]:
    """Lay out what came of asking two versions the same photos."""
    times = new_table("version", "p50", "p99")
    for name, t in ((c.version, c.times), (c.against, c.times_against)):
        times.add_row(name, f"{t.p50_ms:.1f} ms", f"{t.p99_ms:.1f} ms")
    who = ["right"] if c.comparison else []
    flips = new_table("photo", f"by {c.against}", f"by {c.version}", *who)
    for f in c.flips[:SHOWN_FLIPS]:
        right = c.version if f.gained else c.against if f.lost else "neither, or both"
        words = f.photo, f"{f.before} {f.before_confidence:.3f}", f"{f.after} {f.after_confidence:.3f}"
        flips.add_row(*words, *([right] if who else []))
    line = f"{c.photos} photos, {c.agreement:.4f} answered the same by both, {len(c.flips)} flips"
    shown = [times, flips, line, *([c.classes] if c.classes else [])]
    return shown + (show_comparison(c.comparison, c.version, c.against) if c.comparison else [])


def version_table(versions: list[dict[str, Any]]) -> Table:
    """Lay out versions for people."""
    table = new_table(
        "version", "default", "workers ready", "batch size", "batch delay", "waiting", "archive"
    )
    for v in versions:
        workers, delay = f"{v['ready']}/{v['workers']}", f"{v['max_batch_delay_ms']} ms"
        row = workers, str(v["batch_size"]), delay, str(v["waiting"])
        table.add_row(v["version"], "yes" if v["default"] else "", *row, v["archive"])
    return table
