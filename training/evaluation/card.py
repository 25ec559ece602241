"""The model card: what the model is, how good, and where it ends, with Hugging Face's YAML header.

The header is what huggingface.co/docs/hub/model-cards describes; `model-index` holds the figures.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from model.bundle import ModelSpec
from model.text import printable
from report.html import render
from training.evaluation.evaluate import Evaluation
from training.evaluation.history import History

WEAK = 0.8  # a recall or precision below this is named among the limits
CONFUSED = 0.1  # so is a confusion of more of a class than this


def render_card(
    name: str, data: str, result: Evaluation, history: History, spec: ModelSpec, licence: str
) -> str:
    """Return the card in Markdown; `data` names the data set, `licence` is a Hugging Face identifier."""
    rows = result.per_class.items()
    run = history.run
    counts = ", ".join(f"{n} {part} photos" for part, n in run.get("photos", {}).items())
    return render(
        "training/evaluation/card.md.j2",
        plain=_escape,
        name=name,
        data=data,
        licence=licence,
        e=result,
        spec=spec,
        classes=spec.classes,
        start=_start(history.settings.get("weights")),
        counts=f"{counts}{_validation(run)}" if counts else "",
        weak=[(c, r) for c, r in rows if r.photos and min(r.precision, r.recall) < WEAK],
        confused=_frequent_confusions(result),
    )


def _validation(run: Mapping[str, Any]) -> str:
    held_out = "" if len(set(run.get("folders", ()))) > 1 else "; validation is held out of training"
    return held_out + ("; at the end the model learned from validation too" if run.get("refit") else "")


def _escape(text: str) -> str:
    """Keep what a name holds from being read as Markdown, HTML or a formula."""
    return re.sub(r"([\\`*_|<>\[\]$~&#])", r"\\\1", printable(text))


def _start(weights: str | None) -> str:
    if weights is None:
        return ""
    known = {"none": "random weights", "imagenet": "torchvision's ImageNet weights"}
    return known.get(weights, "a state dict of torchvision's `mobilenet_v2`")


def _frequent_confusions(result: Evaluation) -> list[tuple[str, str, int]]:
    """The pairs of classes that are mixed up most: truth, answer, photos."""
    names = result.classes
    counts = np.array(result.confusion)
    pairs = [
        (names[i], names[j], int(n))
        for (i, j), n in np.ndenumerate(counts)
        if i != j and n > CONFUSED * counts[i].sum()
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:5]
