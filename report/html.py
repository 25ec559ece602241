"""HTML pages: one file each with everything in it, light or dark.

A page's template is next to the code that fills it and is named by its path in the packages:
"training/evaluation/report.html.j2". It extends "report/base.html.j2", which says what is there for it.
"""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from model.files import write_bytes, writing

if TYPE_CHECKING:  # pages without charts don't wait for matplotlib
    from report.charts import Chart


def render(template: str, charts: "Iterable[Chart]" = (), **values: Any) -> str:
    """Fill a template; `charts` are drawn, for its `chart(name)`."""
    drawn = {chart.name: Markup(chart.svg()) for chart in charts}  # ours
    return _ENVIRONMENT.get_template(template).render(charts=drawn, **values)


def write_html(path: Path, template: str, charts: "Iterable[Chart]" = (), **values: Any) -> None:
    """Fill a template into a file, in a folder that is made where it's missing."""
    page = render(template, charts, **values)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(page.encode("utf-8", "replace"), path)  # a file's name may be no UTF-8


def macros(template: str) -> object:
    """Load a template of macros, each one a function that returns HTML."""
    return _ENVIRONMENT.get_template(template).module


def percent(share: float, digits: int = 1) -> str:
    """97.3 %; what isn't certain is never shown as 100 % or 0 %."""
    text, least = f"{100 * share:.{digits}f} %", 10.0**-digits
    if 0 < share < 1:
        if text == f"{100:.{digits}f} %":
            return f"> {100 - least:.{digits}f} %"
        if text == f"{0:.{digits}f} %":
            return f"< {least:.{digits}f} %"
    return text


def filesize(count: float) -> str:
    """Bytes with three digits: 12.3 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _source(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return files(folder.replace("/", ".")).joinpath(file).read_text(encoding="utf-8")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FunctionLoader(_source),  # from the packages, wherever they are installed
    autoescape=lambda name: name is None or not name.endswith(".md.j2"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
_ENVIRONMENT.filters |= {"percent": percent, "filesize": filesize, "thousands": "{:,}".format}
