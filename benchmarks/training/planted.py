"""How well wrong labels are found, and what mending them is worth: labels planted wrong in real photos.

    python -m benchmarks.training.planted DATA --weights W --group-regex '^(.+)_f' \
        --swap airplane helicopter --swap bird drone

Shares of the training photos, or of their groups as a whole, get the label of the class that theirs is
swapped with; then they are ranked as `flyobj data suspects` does. What mending is worth: the accuracy on
`test` of logistic regression on the same features, taught the planted labels, and those after as many of
the first suspects as were planted are relabelled as suggested, or by somebody who looks at each.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.program import console, parser_of, run
from model.errors import InputError
from model.layout import TEST, TRAIN
from report.intervals import Ints
from training.suspects.collect import Extractor, collect
from training.suspects.evidence import Flags, weigh
from training.suspects.groups import find_units
from training.suspects.left_out import Features, find_axes, root, score_left_out

PHOTOS, GROUPS = "photos", "groups"
PLANTINGS = ((0.05, PHOTOS), (0.1, PHOTOS), (0.2, PHOTOS), (0.1, GROUPS))
_ROUNDS = 40  # of the fit; more change no figure's third digit


def plant(
    labels: Ints, groups: Ints, other: Ints, share: float, of: str, seed: int
) -> tuple[Ints, Flags]:
    """Give `share` of the photos, or of the groups, the label that theirs is swapped with.

    Args:
        labels: (N,) true ones.
        groups: (N,) numbers of groups, from 0 without gaps.
        other: (classes,) the class that each is swapped with.
        share: from 0 to 1.
        of: "photos" or "groups".
        seed: of the choice.

    Returns:
        The (N,) labels, and which of them are wrong.
    """
    count = len(labels) if of == PHOTOS else int(groups.max()) + 1
    chosen = np.random.default_rng(seed).permutation(count)[: round(share * count)]
    wrong = np.isin(np.arange(len(labels)) if of == PHOTOS else groups, chosen)
    return np.where(wrong, other[labels], labels), wrong


def judge(
    features: Features, labels: Ints, groups: Ints, wrong: Flags
) -> tuple[dict[str, float], Ints, Ints]:
    """Rank photos by their labels; return figures, the first of them, and what is suggested."""
    axes = find_axes(features)
    evidence = weigh(score_left_out(features, axes, labels, groups), labels, groups)
    first = np.argsort(-evidence.margin, kind="stable")[: wrong.sum()]
    margin = np.where(np.isfinite(evidence.margin), evidence.margin, evidence.margin[first].min() - 1e9)
    figures = {
        "auroc": float(roc_auc_score(wrong, margin)),
        "average_precision": float(average_precision_score(wrong, margin)),
        "found": float(wrong[first].mean()),
    }
    return figures, first, evidence.suggested


def measure(own: Namespace) -> dict[str, Any]:
    """Plant, rank and mend with each share and seed."""
    photos = collect(own.data, Extractor(own.weights, own.run, own.size))
    split = np.array([row.split for row in photos.rows])
    train, test = split == TRAIN, split == TEST
    truth = np.array([photos.classes.index(row.class_name) for row in photos.rows], np.int64)
    other = swapped(photos.classes, own.swap)
    rows = [row for row in photos.rows if row.split == TRAIN]
    none = np.empty((0, 2), np.int64)
    groups = find_units(own.data, rows, none, own.group_regex, photos.features[train])
    axes = find_axes(photos.features[train])
    scaled = (root(photos.features) - axes.mean) / axes.deviation

    def accuracy(labels: Ints) -> float:
        fitted = LogisticRegression(max_iter=_ROUNDS).fit(scaled[train], labels)
        return (
            float((fitted.predict(scaled[test]) == truth[test]).mean()) if test.any() else float("nan")
        )

    lines = []
    right = truth[train]
    for share, of in PLANTINGS:
        for seed in own.seeds:
            labels, wrong = plant(right, groups, other, share, of, seed)
            figures, first, suggested = judge(photos.features[train], labels, groups, wrong)
            mended, looked = labels.copy(), labels.copy()
            mended[first] = suggested[first]
            looked[first] = right[first]
            accuracies = {
                "planted": accuracy(labels),
                "relabelled": accuracy(mended),
                "looked_at": accuracy(looked),
            }
            lines.append({"share": share, "of": of, "seed": seed, **figures, **accuracies})
    return {"clean": accuracy(right), "photos": len(right), "test": int(test.sum()), "plantings": lines}


def swapped(classes: Sequence[str], pairs: Sequence[Sequence[str]]) -> Ints:
    """(classes,) the class that each is swapped with.

    Raises:
        InputError: a class is in no pair, in two, or there is none of that name.
    """
    named = sorted(name for pair in pairs for name in pair)
    if named != sorted(classes):
        raise InputError(
            f"--swap names {named}; each class must be in one pair: {', '.join(sorted(classes))}"
        )
    partner = {one: two for pair in pairs for one, two in (pair, reversed(pair))}
    return np.array([classes.index(partner[name]) for name in classes], np.int64)


def show(document: dict[str, Any]) -> None:
    """Print means over the seeds, the worst average precision beside them."""
    table = Table(title=f"{document['photos']} photos; clean labels: {document['clean']:.3f} on test")
    for name in ("planted wrong", "AUROC", "average precision (worst)", "found", "accuracy"):
        table.add_column(name)
    table.add_column("relabelled as suggested")
    table.add_column("looked at")
    for share, of in PLANTINGS:
        own = [line for line in document["plantings"] if (line["share"], line["of"]) == (share, of)]
        mean = {name: float(np.mean([line[name] for line in own])) for name in own[0] if name != "of"}
        lost = document["clean"] - mean["planted"]
        table.add_row(
            f"{share:.0%} of {of}",
            f"{mean['auroc']:.3f}",
            f"{mean['average_precision']:.3f} ({min(o['average_precision'] for o in own):.3f})",
            f"{mean['found']:.2f}",
            f"{mean['planted']:.3f}",
            *(
                f"{mean[n]:.3f} ({(mean[n] - mean['planted']) / lost:.0%})"
                for n in ("relabelled", "looked_at")
            ),
        )
    console.print(table)


def main() -> None:
    """Parse the command line and print."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, help="folder with train/CLASS and test/CLASS photos")
    parser.add_argument("--weights", default="imagenet", help="as `flyobj data suspects` has it")
    parser.add_argument("--run", type=Path, help="as there")
    parser.add_argument("--size", type=int, default=224, help="as there")
    parser.add_argument("--group-regex", help="as there")
    parser.add_argument("--swap", nargs=2, action="append", required=True, metavar="CLASS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    own = parser.parse_args()
    run(lambda: measure(own), show)


if __name__ == "__main__":
    main()
