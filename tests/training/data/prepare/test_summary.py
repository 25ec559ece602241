"""What is said of a prepared folder, and drawn."""

from pathlib import Path
from typing import Any

import pytest

from training.data.manifest import Reason, Row
from training.data.prepare.charts import extensions
from training.data.prepare.prune import prune
from training.data.prepare.settings import PrepareSettings
from training.data.prepare.shard import ScanResult
from training.data.prepare.summary import summarize


def warnings_of(rows: list[Row], share: float = 0.01, **more: Any) -> list[str]:
    """Prune and summarize rows of one class, as training photos."""
    settings = PrepareSettings(prune_share=share)
    clusters, elbows = prune(rows, settings)
    seen = ScanResult(Path("/photos"), settings, ("a",), {}, {}, "1/1", rows)
    found: list[str] = summarize(seen, clusters, elbows, [], **more)["warnings"]
    return found


def photos(small: int, size: int, side: int) -> list[Row]:
    """200 photos of one size, and a few that are `size` bytes or `side` pixels small."""
    usual = [Row(f"a/{i}.jpg", "a", "train", bytes=60_000, width=640, height=480) for i in range(200)]
    few = [Row(f"a/s{i}.jpg", "a", "train", bytes=size, width=side, height=side) for i in range(small)]
    return usual + few


@pytest.mark.parametrize(
    ("size", "side", "what"),
    [(900, 500, "files under a sixteenth"), (60_000, 50, "sides under a quarter")],
)
@pytest.mark.parametrize(("share", "fate"), [(0.027, "dropped"), (0.022, "kept")])
def test_a_share_that_hardly_decides_is_a_warning(
    size: int, side: int, what: str, share: float, fate: str
) -> None:
    (line,) = [w for w in warnings_of(photos(5, size, side), share) if "--prune-share" in w]
    assert line == (
        f"class 'a': 2.44% have {what} of its median, and {share:.2%} decides: 5 photos were {fate}; "
        "look at them, and set --prune-share"
    )


def test_a_share_that_decides_clearly_is_none() -> None:
    assert not [w for w in warnings_of(photos(5, 900, 50), 0.1) if "--prune-share" in w]


def test_groups_that_may_be_and_links_that_may_break_are_said() -> None:
    found = warnings_of(photos(0, 1, 1), suspects=["a/clip1", "a/clip2"], symbolic_links=3)
    assert found[-2].startswith(
        "names and colours suggest 2 more groups, too large to be sure, such as 'a/clip1'; if they are "
        "clips, give --group-regex "
    )
    assert found[-1] == (
        "3 photos are symbolic links, since '/photos' can't be linked in another way: they break when "
        "it is moved; --copy makes copies"
    )
    assert len(warnings_of(photos(0, 1, 1))) == len(found) - 2


def test_rare_extensions_share_a_bar() -> None:
    """14 of them, the most frequent first; the files of the last three are added up."""
    rows = [Row(f"a/{n}.x{kind:02}", "a") for kind in range(14) for n in range(20 - kind)]
    for row in rows:
        if row.name == "0.x13":
            row.drop(Reason.EMPTY)
    axes = extensions(rows).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 12
    assert (labels[0], labels[10], labels[11]) == (".x00 (20)", ".x10 (10)", "3 others (24)")
    kept, dropped = ([round(bar.get_width()) for bar in bars] for bars in axes.containers[:2])
    assert (kept[11], dropped[11], sum(dropped)) == (23, 1, 1)
    assert len(extensions(rows[:-24]).axes[0].get_yticklabels()) == 11
