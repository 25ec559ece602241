"""`flyobj tune` on a real server, and its report."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.tune.page import render, write_report
from loadtest.tune.search import Duel, Goal, Measured, Rung, Settings
from loadtest.tune.trials import Plan, Tuned, as_config, as_document, from_config
from model.errors import InputError
from serving.archive.model_config import read_settings
from serving.stock import ROOT

OURS = ROOT / "handler" / "model-config.yaml"
DEFAULTS = from_config(read_settings(OURS), "ours")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "model-config.yaml"
    path.write_bytes(OURS.read_bytes())
    return path


def test_settings_have_their_names_in_the_file() -> None:
    assert as_config(DEFAULTS) == {
        "minWorkers": 2,
        "maxWorkers": 2,
        "handler.threads": 1,
        "batchSize": 8,
        "maxBatchDelay": 1,
        "handler.engine": "auto",
    }
    assert from_config(as_config(DEFAULTS), "it") == DEFAULTS
    with pytest.raises(InputError, match=r"my\.yaml has no 'batchSize'"):
        from_config({"minWorkers": 2, "handler.threads": 1}, "my.yaml")


def test_a_real_tuning(flyobj: Callable[..., object], archive_path: Path, config: Path) -> None:
    """It says what it saw, and the file holds what it chose."""
    out, before = config.parent / "tune", config.read_text()
    words = ["--candidates", 3, "--seconds", 0.5, "--rounds", 5, "--clients", 2, "--p99-ms", 5000]
    ended = flyobj("tune", archive_path, *words, "--config", config, "--out", out, "--json")
    document = json.loads(getattr(ended, "stdout", ""))
    assert document == json.loads((out / "tuning.json").read_text())
    (rung,) = document["rungs"]
    loads = [load for candidate in rung["candidates"] for load in candidate["loads"]]
    assert all(load["wrong"] is None and load["per_s"] > 0 and load["cpu_ms"] > 0 for load in loads)
    assert len(loads) == 3  # the first had to go for the third
    if document["duel"]:
        assert len(document["duel"]["ratios"]) == 5
    chosen = Settings(**document["choice"])
    assert from_config(read_settings(config), "it") == chosen
    assert (config.read_text() == before) == (chosen == DEFAULTS) == (not document["changes"])
    assert "</html>" in (out / "tuning.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.mar",), "'nowhere.mar': no such file"),
        (
            ("nowhere.mar", "--goal", "speed"),
            "--goal 'speed' is unknown; allowed are throughput, latency",
        ),
        (("nowhere.mar", "--p99-ms", "0"), "--p99-ms 0.0 must be above 0"),
        (("nowhere.mar", "--photos", "nowhere"), "no photos under 'nowhere'"),
        (("nowhere.mar", "--config", "nowhere.yaml"), "'nowhere.yaml' can't be read"),
    ],
)
def test_what_is_wrong_is_said(
    flyobj: Callable[..., object], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    ended = flyobj("tune", *words, code=2, cwd=tmp_path)
    assert message in getattr(ended, "stderr", "").replace("\n", " ")


LOAD = Measured(300.0, 40.0, 90.0, 5.0)
BEST = replace(DEFAULTS, workers=3)


@pytest.fixture
def tuned() -> Tuned:
    """Three workers are better, one alone is worse, PyTorch doesn't start."""
    figures = {
        BEST: [replace(LOAD, per_s=400.0)],
        DEFAULTS: [LOAD],
        replace(DEFAULTS, workers=1): [replace(LOAD, per_s=150.0)],
        replace(DEFAULTS, engine="torch"): [Measured(wrong="a worker crashed at start")],
    }
    ours, theirs = (replace(LOAD, per_s=390.0),) * 5, (LOAD,) * 5
    meeting = Duel(ours, theirs, (1.3,) * 5, better=True)
    plan = Plan(Goal("throughput", 100.0), 16, 3.0, 4, 5)
    return Tuned(plan, 2, DEFAULTS, [Rung(1, figures)], meeting)


def test_the_choice_is_the_best_only_if_it_is_better(tuned: Tuned) -> None:
    assert tuned.best == tuned.choice == BEST
    assert tuned.duel is not None
    assert replace(tuned, duel=replace(tuned.duel, better=False)).choice == DEFAULTS
    assert replace(tuned, duel=None).choice == DEFAULTS


def test_the_report_has_every_load_and_says_what_came_of_it(tuned: Tuned, tmp_path: Path) -> None:
    page = write_report(as_document(tuned), tmp_path / "out").read_text()
    assert "<b>1.30" in page
    assert "Nothing kept the limit" not in page
    assert "better than the defaults in 5 of 5 rounds" in page
    assert "a worker crashed at start" in page
    assert '2 → 1<td class="n">0.50' in page  # one worker alone, half as good
    assert '2 → 3<td class="n">1.33' in page
    assert "http" not in page  # nothing is loaded from elsewhere
    with (tmp_path / "out" / "tuning.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["rung 1"] * 4 + ["duel"] * 10
    assert (rows[0]["workers"], rows[0]["per_s"]) == ("3", "400.0")
    assert rows[3]["p99_ms"] == ""
    assert json.loads((tmp_path / "out" / "tuning.json").read_text())["duel"]["ratio"] == 1.3


def test_a_lost_duel_is_said(tuned: Tuned) -> None:
    assert tuned.duel is not None
    lost = replace(tuned.duel, ratios=(0.9,) * 5, better=False)
    page = render(as_document(replace(tuned, duel=lost)))
    assert "The defaults stay" in page
    assert "better in 0 of 5 rounds" in page


@pytest.mark.parametrize("goal", ["throughput", "latency"])
def test_nothing_that_works(tuned: Tuned, goal: str) -> None:
    """Not even the defaults did; the page says why."""
    plan = replace(tuned.plan, goal=replace(tuned.plan.goal, name=goal))
    broken = Rung(1, {DEFAULTS: [Measured(wrong="no answers")]})
    page = render(as_document(replace(tuned, plan=plan, rungs=[broken], duel=None)))
    assert "no answers" in page
    assert "Nothing kept the limit" in page
