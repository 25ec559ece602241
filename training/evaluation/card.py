"""The model card: what the model is, how good, and where it ends, with Hugging Face's YAML header.

The header is what huggingface.co/docs/hub/model-cards describes; `model-index` holds the figures.
"""

import re
from typing import Any

import numpy as np
import yaml

from model.bundle import ModelSpec
from report.html import render
from training.evaluation.evaluate import Evaluation
from training.evaluation.history import History
from training.evaluation.measure import ClassScores

WEAK = 0.8  # a recall or precision below this is named among the limits
CONFUSED = 0.1  # so is a confusion of more of a class than this


def render_card(
    name: str, data: str, result: Evaluation, history: History, spec: ModelSpec, licence: str
) -> str:
    """Return the card in Markdown; `data` names the data set, `licence` is a Hugging Face identifier."""
    rows = result.per_class.items()
    run = history.run
    counts = ", ".join(f"{n} {part} photos" for part, n in run.get("photos", {}).items())
    text = render(
        "training/evaluation/card.md.j2",
        plain=_escape,
        name=name,
        e=result,
        spec=spec,
        classes=spec.classes,
        start=_start(run.get("settings", {}).get("weights")),
        counts=f"{counts}; validation is held out of the training split" if counts else "",
        weak=[(c, row) for c, row in rows if row.photos and _weakest(row) < WEAK],
        confused=_frequent_confusions(result),
    )
    header = yaml.safe_dump(_header(name, data, result, licence), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n{text}"


def _header(name: str, data: str, result: Evaluation, licence: str) -> dict[str, Any]:
    figures = {
        "accuracy": ("Accuracy", result.accuracy),
        "f1": ("F1, mean of the classes", result.macro_f1),
    }
    return {
        "license": licence,
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["mobilenet_v2", "torchserve", "flying-objects"],
        "metrics": ["accuracy", "precision", "recall", "f1"],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": data, "type": "imagefolder", "split": result.split},
                        "metrics": [
                            {"type": kind, "name": title, "value": round(value, 4)}
                            for kind, (title, value) in figures.items()
                        ],
                    }
                ],
            }
        ],
    }


def _escape(text: str) -> str:
    """Keep what a name holds from being read as Markdown or HTML."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _start(weights: str | None) -> str:
    if weights is None:
        return ""
    known = {"none": "random weights", "imagenet": "torchvision's ImageNet weights"}
    return known.get(weights, "a state dict of torchvision's `mobilenet_v2`")


def _weakest(row: ClassScores) -> float:
    return min(row.precision, row.recall)


def _frequent_confusions(result: Evaluation) -> list[tuple[str, str, int]]:
    """The pairs of classes that are mixed up most: truth, answer, photos."""
    names = list(result.per_class)
    counts = np.array(result.confusion)
    pairs = [
        (names[i], names[j], int(n))
        for (i, j), n in np.ndenumerate(counts)
        if i != j and n > CONFUSED * counts[i].sum()
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:5]
