"""The kit of charts."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from report.charts import (
    BLUE,
    INK,
    PAPER,
    Axes,
    Chart,
    Figure,
    percent_ticks,
    save_png,
    scale_log,
    short,
    whole_ticks,
)


def figure(title: str = "") -> tuple[Figure, Axes]:
    figure = Figure((4, 3))
    axes = figure.subplots()
    axes.plot([1, 10], [0, 1], "o-", color=BLUE, mec=PAPER)
    axes.set_title(title)
    axes.grid()
    return figure, axes


def ticks(axes: Axes, side: str) -> list[str]:
    """The ticks that are seen, as they are written."""
    axes.figure.savefig("/dev/null", format="svg")
    axis = axes.xaxis if side == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    return [t.label1.get_text() for t in axis.get_major_ticks() if low <= t.get_loc() <= high]


def test_a_chart_takes_the_pages_colours() -> None:
    svg = Chart("name", 'what it "shows"', figure("A title")[0]).svg()
    ElementTree.fromstring(svg)
    assert svg.startswith('<svg role="img" aria-label="what it &quot;shows&quot;" ')
    for variable in ("ink", "soft", "line", "paper"):
        assert f": var(--{variable})" in svg
    for colour in (INK, PAPER):
        assert colour not in svg
    assert f"stroke: {BLUE}" in svg


def test_charts_can_share_a_page() -> None:
    """An id that stands twice must mean the same; what is referred to must be there."""
    one, two = (Chart("x", "x", figure(title)[0]).svg() for title in ("one", "two"))
    named = re.findall(r' id="([^"]+)"', one)
    assert not [name for name in named if re.search(r"_\d+$", name)]
    assert {*re.findall(r'(?:href="#|url\(#)([^")]+)', one)} <= {*named}
    assert one != two
    assert one == Chart("x", "x", figure("one")[0]).svg()  # the same bytes again


def test_text_is_text_in_any_script() -> None:
    svg = Chart("x", "x", figure("<b> 鳥 & Vögel")[0]).svg()
    assert "&lt;b&gt; 鳥 &amp; Vögel</text>" in svg


def test_a_picture_is_on_white(tmp_path: Path) -> None:
    save_png(figure()[0], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (520, 390)
        assert min(picture.convert("RGB").getpixel((0, 0))) >= 254  # type: ignore[arg-type]


def test_ticks() -> None:
    _, axes = figure()
    percent_ticks(axes.yaxis)
    whole_ticks(axes.xaxis, 3)
    assert {"0%", "100%"} <= {*ticks(axes, "y")}
    assert all(text.isdigit() for text in ticks(axes, "x"))


@pytest.mark.parametrize(
    ("limits", "at_most", "expected"),
    [
        ((1, 300), 12, "1 2 5 10 20 50 100 200"),
        ((90, 400), 3, "100 200"),
        ((90, 1100), 3, "100 300 1000"),
        ((9, 11_000), 3, "10 100 1000 10000"),
    ],
)
def test_a_logarithmic_axis_is_written_out(
    limits: tuple[float, float], at_most: int, expected: str
) -> None:
    _, axes = figure()
    axes.set_xlim(limits)
    scale_log(axes, "x", at_most=at_most)
    assert ticks(axes, "x") == expected.split()
    scale_log(axes, "x", lambda value: f"{value:g} B", at_most)
    assert ticks(axes, "x")[0].endswith(" B")


def test_short_names() -> None:
    assert short("Flying Birds") == "Flying Birds"
    assert short("a\n$x$") == r"a?\$x\$"
    assert short("x" * 30) == "x" * 23 + "…"
