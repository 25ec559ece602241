"""`flyobj tune` on a real server, and its report."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli.tuning import tune
from loadtest.closed_loop import ExpectedAnswer, expected_answer
from loadtest.photos import Photos
from loadtest.tune.page import write_report
from loadtest.tune.search import Candidate, Duel, Measurement, Trial, TunePlan
from loadtest.tune.trials import TrialServer, TuneResult, as_config, from_config
from model.errors import FlyobjError, InputError
from serving.archive.build import read_archive
from serving.archive.model_config import read_settings
from serving.rollout.default_workers import workers_of
from serving.stock import ROOT

if TYPE_CHECKING:
    from tests.conftest import Home

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
    with pytest.raises(InputError, match=r"my\.yaml has no .*batchSize"):
        from_config({"minWorkers": 2, "handler.threads": 1}, "my.yaml")


@pytest.mark.usefixtures("torchserve")
def test_a_real_tuning(
    archive_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it saw, and the file holds what it chose."""
    out, before = config.parent / "tune", config.read_text()
    monkeypatch.setattr("loadtest.tune.trials.WARM_UP_S", 0.1)
    limits = {"p99_ms": 5000, "clients": 2, "candidates": 3, "seconds": 0.2, "rounds": 5}
    tune(archive_path, **limits, config=config, out=out, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "tuning.json").read_text())
    (rung,) = document["rungs"]
    loads = [load for trial in rung for load in trial["loads"]]
    assert all(load["fault"] is None and load["per_s"] > 0 and load["cpu_ms"] > 0 for load in loads)
    assert len(loads) == 3  # the first had to go for the third
    if document["duel"]:
        assert len(document["duel"]["ratios"]) == 5
    chosen, defaults = (Candidate(**document[name]) for name in ("choice", "defaults"))
    assert defaults == replace(DEFAULTS, workers=workers_of(os.getpid()))
    assert (config.read_text() == before) == (chosen == defaults) == (not document["changes"])
    if document["changes"]:
        written = read_settings(config)
        assert all(written[name] == now for name, (_, now) in document["changes"].items())
    assert "</html>" in (out / "tuning.html").read_text()


def test_what_does_not_start_is_said_and_removed(
    server: "Home", archive_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has a 1.0, and so refuses the first; of the second the workers crash."""

    def crash(*_: object) -> None:
        raise FlyobjError("its workers crashed")

    monkeypatch.setattr("loadtest.tune.trials.wait_ready", crash)
    with server.client() as client:
        plan = TunePlan("throughput", 100.0)
        trials = TrialServer(client, client.server, read_archive(archive_path), plan)
        first, second = trials.measure(DEFAULTS), trials.measure(replace(DEFAULTS, workers=1))
        assert (set(client.versions()), client.default_version()) == ({"1.0"}, "1.0")
    assert first.fault
    assert "409" in first.fault
    assert second == Measurement(fault="its workers crashed")
    assert not (server.path / "trials" / "2.0").exists()


def test_wrong_answers_are_said(
    server: "Home", archive_path: Path, photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the first of two photos was a balloon to the defaults, but isn't to a candidate."""
    balloon = iter([ExpectedAnswer(frozenset({"Balloon"}), 0.0)])
    monkeypatch.setattr(
        "loadtest.tune.trials.expected_answer", lambda row: next(balloon, expected_answer(row))
    )
    monkeypatch.setattr("loadtest.tune.trials.WARM_UP_S", 0.1)
    monkeypatch.setattr(TrialServer, "_serve", lambda *_: "1.0")
    with server.client() as client:
        plan = TunePlan("throughput", 100.0, clients=2, seconds=1)
        trials = TrialServer(client, client.server, read_archive(archive_path), plan)
        trials.warm_up(Photos((*photos[:2],)), DEFAULTS)
        fault = trials.measure(DEFAULTS).fault
    assert fault
    assert re.fullmatch(r"[1-9]\d* answers were wrong: \[.+, not \['Balloon', .+\]", fault)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.mar",), "'nowhere.mar': no such file"),
        (("nowhere.mar", "--goal", "speed"), "speed"),
        (("nowhere.mar", "--p99-ms", "0"), "0.1"),
        (("nowhere.mar", "--photos", "nowhere"), "'nowhere' can't be read"),
        (("nowhere.mar", "--config", "nowhere.yaml"), "'nowhere.yaml' can't be read"),
    ],
)
def test_what_is_wrong_is_said(
    inside: Callable[..., object], words: tuple[str, ...], message: str
) -> None:
    ended = inside("tune", *words, code=2)
    assert message in getattr(ended, "stderr", "").replace("\n", " ")


def test_an_installed_packages_own_file_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to pip, and the next installation would replace it."""
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / OURS.name).write_bytes(OURS.read_bytes())
    monkeypatch.setattr("serving.stock.ROOT", tmp_path)
    with pytest.raises(InputError, match=r"can't be tuned in place; give --config COPY_OF_IT"):
        tune(Path("nowhere.mar"))
    with pytest.raises(InputError, match=r"'nowhere\.mar': no such file"):
        tune(Path("nowhere.mar"), dry_run=True)


LOAD = Measurement(300.0, 40.0, 90.0, 5.0)
BEST = replace(DEFAULTS, workers=3)
MORE = {"config": "model-config.yaml", "changes": {"minWorkers": [2, 3]}, "written": False}


@pytest.fixture
def result() -> TuneResult:
    """Three workers are better, one alone is worse, PyTorch doesn't start."""
    figures = {
        BEST: replace(LOAD, per_s=400.0),
        DEFAULTS: LOAD,
        replace(DEFAULTS, workers=1): replace(LOAD, per_s=150.0),
        replace(DEFAULTS, engine="torch"): Measurement(fault="a worker crashed at start"),
    }
    rung = [Trial(candidate, [load]) for candidate, load in figures.items()]
    ours, theirs = Trial(BEST, [replace(LOAD, per_s=390.0)] * 5), Trial(DEFAULTS, [LOAD] * 5)
    plan = TunePlan("throughput", 100.0, rounds=5)
    won = Duel(ours, theirs, [1.3] * 5, better=True)
    return TuneResult(plan, 2, "a processor", DEFAULTS, [rung], won)


@pytest.fixture
def tuned(
    result: TuneResult, config: Path, inside: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Say what `flyobj tune` says of a result: `tuned(*options, duel=None)`."""

    def say(*options: str, **changed: object) -> list[str]:
        monkeypatch.setattr("loadtest.tune.trials.tune", lambda *_: replace(result, **changed))
        # The defaults are those of this machine, which may have three cores.
        monkeypatch.setattr("serving.rollout.default_workers.workers_of", lambda _: DEFAULTS.workers)
        command = ("tune", "a.mar", "--config", config, "--out", "out", "--rounds", 5, *options)
        lines: list[str] = inside(*command).stdout.splitlines()
        assert lines[-1] == "see out/tuning.html"
        return lines[:-1]

    return say


def test_what_is_better_is_written_and_said(config: Path, tuned: Callable[..., list[str]]) -> None:
    before = config.read_text()
    now = ["minWorkers: 2 before, now 3", "maxWorkers: 2 before, now 3"]
    then = "package a version with it: flyobj archive, then flyobj models deploy --workers 3"
    won = f"{BEST}: 1.30 times as good as the defaults, better in 5 of 5 rounds"
    dry = f"--dry-run: {config} is unchanged; {then}"
    assert tuned("--dry-run") == [*now, dry, won]
    assert config.read_text() == before
    assert tuned() == [*now, f"written into {config}; {then}", won]
    assert config.read_text() == before.replace("Workers: 2", "Workers: 3")


def test_the_defaults_stay_and_that_is_said(config: Path, tuned: Callable[..., list[str]]) -> None:
    before = config.read_text()
    assert tuned(duel=None) == [f"the defaults stay: {DEFAULTS}"]
    slow = [[Trial(DEFAULTS, [replace(LOAD, p99_ms=101.0)])]]
    assert tuned(duel=None, rungs=slow) == ["nothing kept p99 within the limit; give fewer --clients"]
    assert config.read_text() == before


def test_the_choice_is_the_best_only_if_it_is_better(result: TuneResult) -> None:
    assert result.best == result.choice == BEST
    assert result.duel is not None
    assert replace(result, duel=replace(result.duel, better=False)).choice == DEFAULTS
    assert replace(result, duel=None).choice == DEFAULTS


def test_the_report_has_every_candidate_and_says_what_came_of_it(
    result: TuneResult, tmp_path: Path
) -> None:
    document = write_report(result, MORE, tmp_path / "out")
    page = (tmp_path / "out" / "tuning.html").read_text()
    assert "1.30 times as good as the defaults" in page
    assert "better in 5 of 5 rounds" in page
    assert "Nothing kept the limit" not in page
    assert "a worker crashed at start" in page
    assert f'{BEST}<td class="n">1<td class="n">1<td class="n">400' in page
    assert "Would be written into <code>model-config.yaml" in page
    assert 'src="http' not in page  # nothing is loaded from elsewhere
    assert json.loads((tmp_path / "out" / "tuning.json").read_text()) == document
    assert document["duel"]["ratios"] == [1.3] * 5
    assert document["choice"]["workers"] == 3


def test_a_lost_duel_is_said(result: TuneResult, tmp_path: Path) -> None:
    assert result.duel is not None
    lost = replace(result.duel, ratios=[0.9] * 5, better=False)
    write_report(replace(result, duel=lost), MORE | {"changes": {}}, tmp_path)
    page = (tmp_path / "tuning.html").read_text()
    assert "The defaults stay" in page
    assert "better in 0 of 5 rounds" in page
    assert "ritten into" not in page


@pytest.mark.parametrize("goal", ["throughput", "latency"])
def test_nothing_that_works(result: TuneResult, tmp_path: Path, goal: str) -> None:
    """Not even the defaults did; the page says why."""
    broken = [Trial(DEFAULTS, [Measurement(fault="no answers")])]
    plan = replace(result.plan, goal=goal)
    write_report(replace(result, plan=plan, rungs=[broken], duel=None), MORE, tmp_path)
    page = (tmp_path / "tuning.html").read_text()
    assert "no answers" in page
    assert "Nothing kept the limit" in page
