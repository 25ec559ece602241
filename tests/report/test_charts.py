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
    SOFT,
    Axes,
    Chart,
    Figure,
    mark,
    panels,
    percent_ticks,
    save_png,
    scale_log,
    short,
    stack_bars,
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
        assert min(picture.convert("RGB").getpixel((0, 0))) >= 254


def test_panels_come_line_by_line_and_the_last_may_be_empty() -> None:
    figure, shown = panels((6, 4), 2, 3, 4, sharex=True)
    assert figure.get_size_inches().tolist() == [6, 4]
    assert [axes.get_subplotspec().colspan.start for axes in shown] == [0, 1, 2, 0]
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2
    assert len(panels((1, 1))[1]) == 1


def test_bars_follow_one_another_from_the_top() -> None:
    _, (axes,) = panels((4, 2))
    parts = {"train": [3, 1], "test": [2, 0]}
    first, second = stack_bars(axes, ["a", "b"], parts, (BLUE, INK))
    assert [(bar.get_x(), bar.get_width()) for bar in first] == [(0, 3), (0, 1)]
    assert [(bar.get_x(), bar.get_width()) for bar in second] == [(3, 2), (1, 0)]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis_inverted()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]


def test_a_mark_stands_at_its_value() -> None:
    _, axes = figure()
    mark(axes, "x", 5, "knee", BLUE)
    mark(axes, "y", 0.5, "limit")
    upright, level = axes.lines[-2:]
    assert (upright.get_xdata(), level.get_ydata()) == ([5, 5], [0.5, 0.5])
    assert [(t.get_text(), t.get_color()) for t in axes.texts] == [("knee", BLUE), ("limit", SOFT)]


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
    assert short("a\n$x$") == r"a\n$x$"
    assert short("x" * 30) == "x" * 23 + "…"


def test_names_are_text_in_a_drawing() -> None:
    """No formula, no element, no end of a comment."""
    name = "$x^2$ <img src=x onerror=alert(1)> -->"
    svg = Chart("name", name, figure(name)[0]).svg()
    assert "<img" not in svg
    assert svg.count("&lt;img src=x onerror=alert(1)&gt;") == 2  # the text, and what is read aloud
    assert ">$x^2$ " in svg
    assert "--> --" not in svg
