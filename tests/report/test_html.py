"""Pages: what the environment and the skeleton give to each template."""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

from report.charts import Chart, Figure
from report.html import filesize, macros, percent, render, write_html


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of templates that isn't below the working directory."""
    folder = tmp_path / f"pages_{tmp_path.name}" / "of_one"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        (place / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith(folder.parent.name)]:
        del sys.modules[name]


def template(package: Path, text: str, name: str = "page.html.j2") -> str:
    (package / name).write_text(text, encoding="utf-8")
    return f"{package.parent.name}/of_one/{name}"


PAGE = """{% extends "report/base.html.j2" %}{% block title %}T{% endblock %}
{% block style %}.own { color: red }{% endblock %}{% block content %}{{ BODY }}{% endblock %}"""


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.found.append(tag)


def body(package: Path, content: str, *charts: Chart, **values: object) -> str:
    page = render(template(package, PAGE.replace("{{ BODY }}", content)), charts, **values)
    return page.split("<main>\n")[1].split("</main>")[0]


def test_a_page_has_the_skeleton_and_its_own(package: Path) -> None:
    page = render(template(package, PAGE.replace("{{ BODY }}", "<h1>It</h1>")))
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>T</title>" in page
    assert ".own { color: red }</style>" in page
    assert "<main>\n<h1>It</h1></main>" in page
    assert page.count("prefers-color-scheme: dark") == 1
    light, dark = (
        re.findall(r"--([\w-]+): #", rule) for rule in re.findall(r":root {(.*?)}", page, re.S)
    )
    assert sorted(light) == sorted(dark)  # no colour is for one scheme alone


def test_each_variable_that_is_used_is_defined() -> None:
    text = (Path(render.__code__.co_filename).parent / "base.html.j2").read_text()
    used, defined = {*re.findall(r"var\(--([\w-]+)\)", text)}, {*re.findall(r"--([\w-]+):", text)}
    assert used <= defined


def test_values_are_escaped(package: Path) -> None:
    said = body(package, "<b>{{ name }}</b>{{ facts(pairs) }}", name="<i>&", pairs={"<k>": "<v>"})
    assert said == "<b>&lt;i&gt;&amp;</b><dl><dt>&lt;k&gt;<dd>&lt;v&gt;</dl>"


def test_markdown_is_not(package: Path) -> None:
    assert render(template(package, "# {{ name }}\n", "card.md.j2"), name="a & b") == "# a & b\n"


def test_charts(package: Path) -> None:
    chart = Chart("lines", "some lines", Figure((2, 1)))
    said = body(package, '{{ chart("lines", "large") }}{{ chart("none") }}', chart)
    assert said.startswith('<div class="chart large"><svg role="img" aria-label="some lines" ')
    assert said.endswith("</svg>\n</div>")


def test_photos(package: Path) -> None:
    shown = body(package, '{{ photo("data:x", "a<b") }}{{ photo(none, "c", "0 bytes") }}')
    assert shown == (
        '<img src="data:x" alt="a&lt;b" title="a&lt;b"><span class="none" title="c">0 bytes</span>'
    )


def test_a_name_that_is_missing_is_an_error(package: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'nobody' is undefined"):
        body(package, "{{ nobody }}")
    with pytest.raises(jinja2.TemplateRuntimeError, match="Required block 'title' not found"):
        render(template(package, '{% extends "report/base.html.j2" %}', "bare.html.j2"))


def test_files_are_written_with_any_name_in_them(package: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "page.html"
    write_html(path, template(package, PAGE.replace("{{ BODY }}", "{{ name }}")), name="gr\udcfcn")
    parser = Tags()
    parser.feed(path.read_text(encoding="utf-8"))
    assert parser.found == ["html", "meta", "meta", "meta", "title", "style", "main"]
    assert "gr?n" in path.read_text()


def test_macros_are_functions(package: Path) -> None:
    parts = macros(template(package, "{% macro hello(name) %}<b>{{ name }}</b>{% endmacro %}"))
    assert parts.hello("<x>") == "<b>&lt;x&gt;</b>"


@pytest.mark.parametrize(
    ("share", "digits", "expected"),
    [
        (0.9734, 1, "97.3 %"),
        (1.0, 1, "100.0 %"),
        (0.0, 1, "0.0 %"),
        (0.9996, 1, "> 99.9 %"),
        (0.0004, 1, "< 0.1 %"),
        (0.9996, 2, "99.96 %"),
        (0.99999, 2, "> 99.99 %"),
        (0.25, 0, "25 %"),
    ],
)
def test_what_is_not_certain_is_never_100_percent(share: float, digits: int, expected: str) -> None:
    assert percent(share, digits) == expected


def test_file_sizes_have_three_digits() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 12_340: "12.3 kB", 5.5e6: "5.5 MB", 2e12: "2e+03 GB"}
    assert {count: filesize(count) for count in sizes} == sizes
