"""What is read of a run, of whatever version."""

import json
from pathlib import Path

import pytest

from training.evaluation.charts import curves, range_tests
from training.evaluation.history import History, read_history


def test_a_real_run(run: Path) -> None:
    history = read_history(run)
    document = json.loads((run / "run.json").read_text())
    assert [s.name for s in history.stages] == [s["stage"]["name"] for s in document["stages"]]
    for stage, entry in zip(history.stages, document["stages"], strict=True):
        assert len(stage.epochs) >= 1
        best = stage.curve("val_accuracy")[stage.facts["best_epoch"]]
        assert best == pytest.approx(entry["val_accuracy"])
        assert all(loss > 0 for loss in stage.curve("train_loss"))


def test_a_run_with_range_tests(tmp_path: Path) -> None:
    """With an earlier version's names, and a loss that left all bounds at its end."""
    stages = [
        {
            "stage": {"name": "top", "open_blocks": 5},
            "rate": 1e-3,
            "rate_from": "given",
            "why": "below target",
        },
        {"stage": {"name": "all"}},
    ]
    document = {"stages": stages, "stopped_because": "everything is open", "settings": {"target": 0.9}}
    (tmp_path / "run.json").write_text(json.dumps(document))
    (tmp_path / "logs").mkdir()
    table = "rate,loss\n1e-05,1.5\n0.001,1.1\n1.0,nan\n2.0,inf\n"
    (tmp_path / "logs" / "range_test-top.csv").write_text(table)
    history = read_history(tmp_path)
    top, whole = history.stages
    assert (top.facts["lr"], top.facts["lr_from"], top.facts["trainable_blocks"]) == (1e-3, "given", 5)
    assert top.range_test[:2] == ((1e-5, 1.5), (1e-3, 1.1))
    assert (whole.range_test, whole.epochs) == ((), ())
    assert (history.stopped_because, history.settings) == ("everything is open", {"target": 0.9})
    axes = range_tests([top]).axes[0]
    low, high = axes.get_ylim()
    assert low < 1.1 < 1.5 < high < 3
    assert axes.lines[1].get_xdata()[0] == 1e-3


@pytest.mark.parametrize("document", [None, "{}", '{"stages": 3}'])
def test_without_stages_there_is_no_history(tmp_path: Path, document: str | None) -> None:
    if document:
        (tmp_path / "run.json").write_text(document)
    assert read_history(tmp_path) == History()


def test_curves_go_on_over_the_stages(run: Path) -> None:
    history = read_history(run)
    losses, accuracies = curves(history).axes
    epochs = sum(len(stage.epochs) for stage in history.stages)
    drawn = [x for line in losses.lines if line.get_color() == "#d9603b" for x in line.get_xdata()]
    assert drawn == list(range(1, epochs + 1))
    assert accuracies.get_xlim() == (0.5, epochs + 0.5)


def test_training_accuracy_is_drawn_where_it_is_known(tmp_path: Path) -> None:
    stage = {"stage": {"name": "head"}, "best_epoch": 1}
    (tmp_path / "run.json").write_text(json.dumps({"stages": [stage]}))
    table = tmp_path / "logs" / "csv" / "head" / "metrics.csv"
    table.parent.mkdir(parents=True)
    titles = {}
    for column in ("train_accuracy", "other"):
        rows = [f"epoch,train_loss,val_loss,val_accuracy,{column}", "0,1,1,0.5,0.25", "1,1,1,0.75,0.5"]
        table.write_text("\n".join(rows))
        accuracies = curves(read_history(tmp_path)).axes[1]
        blue = [line for line in accuracies.lines if line.get_color() == "#3a80c9"]
        drawn = [y for line in blue for y in line.get_ydata() if y == y]
        titles[column] = accuracies.get_title(loc="left"), drawn
    assert titles == {"train_accuracy": ("Accuracy", [0.25, 0.5]), "other": ("Validation accuracy", [])}
