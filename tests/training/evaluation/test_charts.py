"""The evaluation's charts: photos of no known class, what the temperature did, range tests."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from report.charts import Chart
from training.evaluation.charts import charts_of
from training.evaluation.evaluate import Evaluation, OutOfDistribution
from training.evaluation.history import History, read_history
from training.evaluation.publish import publish
from training.evaluation.target import BundleTarget

pytestmark = pytest.mark.slow

FlyObj = Callable[..., subprocess.CompletedProcess[str]]

FOUND = OutOfDistribution(
    *("strangers", 4, 0, 1, 0.5, "novelty", 14 / 16, 0.25),
    *((0.9, 0.5, 0.4, 0.3), (0.6, 0.01, 1e-4, 0.0)),
)


@pytest.fixture
def strangers(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Five photos of no class that a model knows, and a file that is none."""
    folder = tmp_path / "strangers"
    (folder / "deep").mkdir(parents=True)
    for number in range(5):
        (folder / "deep" / f"{number}.jpg").write_bytes(jpeg(number))
    (folder / "notes.txt").write_text("words")
    return folder


def named(charts: list[Chart], name: str) -> Chart:
    (chart,) = [chart for chart in charts if chart.name == name]
    return chart


@pytest.mark.parametrize("by", ["novelty", "confidence"])
def test_a_run_is_evaluated_on_photos_of_no_known_class(
    inside: FlyObj, run_copy: Path, dataset: Path, strangers: Path, tmp_path: Path, by: str
) -> None:
    if by == "confidence":  # as of an older run
        (run_copy / "bundle" / "novelty.safetensors").unlink()
    out = tmp_path / "out"
    said = inside("evaluate", run_copy, "--data", dataset, "--unknown", strangers, "--out", out).stdout
    found = json.loads((out / "evaluation.json").read_text())["out_of_distribution"]
    assert (found["by"], found["photos"], found["skipped"], found["unknown"]) == (by, 5, 1, 0)
    target = BundleTarget(run_copy / "bundle")
    for files, values in ((dataset / "test", found["known"]), (strangers, found["strange"])):
        photos = [path.read_bytes() for path in sorted(files.rglob("*.jpg"))]
        answers = target.answer(photos)
        told = [a["novelty"] if by == "novelty" else max(a["probabilities"].values()) for a in answers]
        assert sorted(values) == pytest.approx(sorted(told), abs=1e-5)
    known, strange = np.array(found["known"]), np.array(found["strange"])
    pairs = known[:, None] - strange
    assert found["auroc"] == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    lowest, second = np.sort(known)[:2]  # of 8: the threshold is a third of the way from one to the next
    taken = (strange >= lowest + 0.35 * (second - lowest)).mean()
    assert found["taken"] == pytest.approx(taken)
    words = " ".join(said.split())
    assert '0 of 5 photos of no known class are answered "unknown"' in words
    assert f"{by} tells them apart with an AUROC of {found['auroc']:.3f}" in words
    assert f"takes {100 * taken:.0f} % of them for known ones" in words
    page = (out / "report.html").read_text()
    assert re.search(rf"Of 5 photos in <code>{strangers}</code> it answers “unknown” for 0 \(", page)
    assert f"\n{by} tells a test photo from one of these in" in page
    assert f'aria-label="{by} of known and other photos"' in page
    assert ("Dashed: below 2 %" in page) == (by == "novelty")
    with Image.open(out / "out_of_distribution.png") as picture:
        picture.load()
        assert min(picture.size) > 250


@pytest.mark.parametrize(("by", "scale"), [("novelty", "log"), ("confidence", "linear")])
def test_shares_of_both_kinds_of_photos_and_the_roc_curve(
    result: Evaluation, by: str, scale: str
) -> None:
    strange = replace(result, out_of_distribution=replace(FOUND, by=by))
    chart = named(charts_of(strange, History()), "out_of_distribution")
    assert chart.alt == f"{by} of known and other photos"
    shares, roc = chart.figure.axes
    assert (shares.get_xlabel(), shares.get_xscale()) == (by, scale)
    names = [text.get_text() for text in shares.get_legend().get_texts()]
    assert names == ["test photos", "of no known class"]
    heights = [[bar.get_height() for bar in bars] for bars in shares.containers]
    assert [sum(own) for own in heights] == pytest.approx([1, 1])  # a novelty of nothing is drawn too
    assert len(shares.lines) == (by == "novelty")  # the rate that is suggested
    assert "ROC, area 0.875" in roc.get_title(loc="left")
    line = roc.lines[1]
    drawn = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))  # the highest of each rate
    assert (drawn[0], drawn[1]) == (0.75, 1)  # three look stranger than any known photo does


def test_the_accuracy_without_temperature_is_drawn_where_there_is_one(result: Evaluation) -> None:
    drawn = {}
    for name, before in (("none", None), ("hot", result.reliability)):
        charts = charts_of(replace(result, uncalibrated=before), History())
        above = named(charts, "reliability").figure.axes[0]
        lines = {line.get_label(): line for line in above.lines}
        drawn[name] = lines.get("without temperature")
    assert drawn["none"] is None
    bins = [b for b in result.reliability.bins if b.photos]
    assert drawn["hot"] is not None
    assert list(drawn["hot"].get_xdata()) == [b.confidence for b in bins]
    assert list(drawn["hot"].get_ydata()) == [b.accuracy for b in bins]


def test_range_tests_of_a_run_are_on_the_page(
    result: Evaluation, run_copy: Path, dataset: Path, tmp_path: Path
) -> None:
    logs = run_copy / "logs"
    (logs / "range_test-head.csv").write_text("lr,loss\n1e-05,1.5\n0.001,1.1\n0.1,2.5\n")
    publish(
        result,
        BundleTarget(run_copy / "bundle"),
        read_history(run_copy),
        tmp_path / "out",
        title="x",
        data=dataset,
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h3>Learning-rate range tests</h3>" in page
    assert 'aria-label="loss by learning rate"' in page
    assert (tmp_path / "out" / "range_tests.png").stat().st_size > 1000
