"""What `flyobj tune` saw: one page, and everything that was measured as JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.tune.search import Trial
from loadtest.tune.trials import TuneResult
from model.files import write_json
from report.charts import AMBER, BLUE, DASHED, INK, RED, Chart, Figure, panels, scale_log
from report.html import write_html

PAGE = "tuning.html"


def write_report(result: TuneResult, more: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write page and document into `folder`; returns the document, to which `more` is added."""
    ranking = rank_trials(result)
    chart = Chart("seen", "p99 and answers a second of each candidate", draw(result, ranking))
    values = {"r": result, "ranking": ranking, **more}
    write_html(folder / PAGE, "loadtest/tune/page.html.j2", [chart], **values)
    choice = {"best": asdict(result.best), "choice": asdict(result.choice)}
    document = asdict(result) | choice | {"limit_kept": result.limit_kept} | more
    write_json(document, folder / "tuning.json")
    return document


def rank_trials(result: TuneResult) -> list[tuple[int, Trial]]:
    """List the candidates, the best first, each with its last rung and its loads there."""
    rows: dict[Any, tuple[int, Trial]] = {}
    for number, rung in reversed([*enumerate(result.rungs, 1)]):
        for trial in rung:
            rows.setdefault(trial.candidate, (number, trial))
    return [*rows.values()]


def draw(result: TuneResult, ranking: list[tuple[int, Trial]]) -> Figure:
    """Place each candidate that can be used by p99 and rate; larger dots went further in the search."""
    figure, (axes,) = panels((9, 4.2))
    for rung, trial in ranking:
        if trial.fault is None:
            at = trial.median("p99_ms"), trial.median("per_s")
            colour = AMBER if trial.candidate.engine == "torch" else BLUE
            axes.scatter(*at, 50 * rung, color=colour, alpha=0.6)
            names = {"defaults": result.defaults, "best": result.best}
            label = " = ".join(name for name, own in names.items() if own == trial.candidate)
            axes.annotate(label, at, (8, 8), textcoords="offset points", color=INK, weight="bold")
    axes.axvline(result.plan.p99_ms, color=RED, ls=DASHED)
    axes.set(xlabel="p99, ms (dashed: the limit)", ylabel="answers a second", ylim=(0, None))
    scale_log(axes, "x")
    axes.grid()
    return figure
