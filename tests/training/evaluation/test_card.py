"""The model card: what Hugging Face reads in its head, and what people read below."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from model.bundle import read_bundle
from training.evaluation.card import render_card
from training.evaluation.evaluate import Evaluation
from training.evaluation.history import read_history


def test_the_model_card(result: Evaluation, run: Path) -> None:
    spec = read_bundle(run / "bundle").spec
    name = 'first: "<é>" #1'
    card = render_card(name, "photos", result, read_history(run), spec, "cc0-1.0")
    _, header, text = card.split("---\n", 2)
    head = yaml.safe_load(header)
    assert (head["license"], head["pipeline_tag"]) == ("cc0-1.0", "image-classification")
    (index,) = head["model-index"]
    assert index["name"] == name
    figures = {m["type"]: m["value"] for m in index["results"][0]["metrics"]}
    assert figures["accuracy"] == round(result.accuracy, 4)
    assert index["results"][0]["dataset"]["split"] == "test"
    assert f"**{100 * result.accuracy:.1f} %**" in text
    rows = [line for line in text.splitlines() if line.startswith("| Winged Drones |")]
    assert rows == [line for line in rows if line.count("|") == 6]
    assert len(rows) == 1
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(code, "card", "exec")
    assert "{{" not in text


@pytest.mark.parametrize(
    ("folders", "refit", "words"),
    [
        (["train"], None, "; validation is held out of training"),
        (["train", "val"], None, ""),
        (["train", "val"], {"photos": 40}, "; at the end the model learned from validation too"),
    ],
)
def test_the_card_says_what_validation_was(
    result: Evaluation, run: Path, folders: list[str], refit: dict[str, int] | None, words: str
) -> None:
    history = read_history(run)
    history = replace(history, run={**history.run, "folders": folders, "refit": refit})
    spec = read_bundle(run / "bundle").spec
    card = render_card("x", "photos", result, history, spec, "unknown")
    (line,) = [line for line in card.splitlines() if "validation photos" in line]
    assert words in line
    assert line.count("; ") == bool(words)
