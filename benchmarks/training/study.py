"""Which recipe of training is right more often, in folds over the training photos; `test` is never read.

    python -m benchmarks.training.study DATA --weights W --group-regex '^(.+)_f' --out FILE.jsonl

Groups (clips) are dealt into folds. In each, the product's own trainer fits the other folds' photos,
with a validation split of its own, and the network it keeps answers the fold's. An arm is a recipe, see
`benchmarks.training.arms`; `screen` stands for 8 combinations of all its words, other ones in each fold;
`probe`, `torchvision`, `fastai` and `fastai-find` are baselines, see `benchmarks.training.baselines`.

Each run is a line of FILE: what was run, the right class and the probabilities of each photo, the stages
with their epochs and range tests, seconds. Runs that are in it already are left out, so a study that was
stopped goes on, and arms can be added. Seeds come first in the order, then folds, then arms, so what is
there at any time is balanced. `python -m benchmarks.training.table FILE` reads it.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.program import console, parser_of, run
from benchmarks.training.arms import Arm, screen
from benchmarks.training.baselines import BASELINES, use_fastai
from model.bundle import ARCHITECTURES, Bundle, ModelSpec
from model.errors import InputError
from model.network import Network
from model.predictor import Predictor
from model.preprocessing import Preprocessing
from training.data.photo_groups import groups_of
from training.data.photos import Photo, hold_out
from training.fit.distributed import launch
from training.fit.plan import VAL_SHARE, Plan, make_plan
from training.fit.settings import TrainSettings

FOLD_SEED = 0  # of the deal of groups into folds, the same for all arms and seeds


@dataclass(frozen=True)
class Fold:
    """The plan of a run, and the photos that it never sees."""

    number: int
    plan: Plan
    held: tuple[Photo, ...]


def make_folds(plan: Plan, count: int) -> list[Fold]:
    """Deal the plan's photos, by whole groups and with about as many of each class in each fold.

    Raises:
        InputError: there are fewer groups than folds, of all or of a class.
    """
    photos = plan.train + plan.validation
    groups = np.array(groups_of(plan.data, photos, plan.settings.group_regex))
    labels = np.array([photo.label for photo in photos])
    if count < 2:
        raise InputError(f"--folds {count} must be at least 2")
    for label, name in enumerate(plan.classes):
        if (own := len(np.unique(groups[labels == label]))) < count:
            raise InputError(
                f"--folds {count}: class {name!r} is in {own} group(s) only, fewer than folds; give at "
                f"most --folds {own}, or add photos"
            )
    dealer = StratifiedGroupKFold(count, shuffle=True, random_state=FOLD_SEED)
    folds = []
    for number, (_, at) in enumerate(dealer.split(labels, labels, groups)):
        held = set(at.tolist())
        rest = [i for i in range(len(photos)) if i not in held]
        train, validation = hold_out(
            [photos[i] for i in rest], groups[rest].tolist(), VAL_SHARE, plan.settings.seed
        )
        parted = replace(plan, train=train, validation=validation)
        folds.append(Fold(number, parted, tuple(photos[i] for i in at)))
    return folds


def fit(fold: Fold, arm: Arm, folder: Path) -> dict[str, Any]:
    """Run one arm on one fold."""
    plan = arm.plan(fold.plan)
    fabric, plan = launch(plan.settings, plan)
    trainer = arm.trainer(fabric, plan, folder)
    trainer.stages = arm.stages(plan.settings) or trainer.stages
    results = trainer.finish()
    trainer.tracker.close()
    curves = {
        path.stem.removeprefix("range_test-"): path.read_text().splitlines()
        for path in sorted((folder / "logs").glob("range_test-*.csv"))
    }
    epochs = {
        path.parent.name: path.read_text().splitlines()
        for path in sorted((folder / "logs" / "csv").glob("*/metrics.csv"))
    }
    return {
        "settings": asdict(plan.settings),
        "stages": [asdict(result) for result in results],
        "metrics": epochs,
        "curves": curves,
        "probabilities": answers(trainer.network, plan, fold.held),
    }


def answers(network: Network, plan: Plan, photos: Sequence[Photo]) -> Any:
    """Return the (photos, classes) probabilities that a server would answer."""
    settings = plan.settings
    architecture = ARCHITECTURES[settings.head]
    spec = ModelSpec(plan.classes, Preprocessing(settings.size), "", "", "", architecture)
    predictor = Predictor(Bundle(spec, network.cpu().eval(), ()))
    batches = [photos[i : i + 32] for i in range(0, len(photos), 32)]
    scores = [
        predictor.outputs([predictor.prepare(p.path.read_bytes()) for p in b]).scores for b in batches
    ]
    return np.exp(np.concatenate(scores).astype(float)).round(5).tolist()


def jobs(arms: list[str], seeds: list[int], folds: int) -> Iterator[tuple[str, int, int]]:
    """List arm, seed and fold of each run, in the order in which they are worth most."""
    for seed in seeds:
        for fold in range(folds):
            for arm in arms:
                for name in screen(fold) if arm == "screen" else [arm]:
                    yield name, seed, fold


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Tell runs apart."""
    return row["arm"], row["seed"], row["fold"], row["folds"], row["size"], row["epochs"]


def study(
    data: Path,
    out: Path,
    settings: TrainSettings,
    arms: list[str],
    seeds: list[int],
    folds: int,
    ends: float,
) -> int:
    """Append what isn't in `out` yet until `time.time()` is `ends`; return the number of runs."""
    for arm in arms:
        if arm not in (*BASELINES, "screen"):
            Arm(arm)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done, seconds, count = {key_of(row) for row in rows}, [0.0], 0
    plan = make_plan(data, replace(settings, seed=seeds[0]))
    made: dict[int, list[Fold]] = {}
    for arm, seed, number in jobs(arms, seeds, folds):
        row: dict[str, Any] = {"arm": arm, "seed": seed, "fold": number, "folds": folds}
        row |= {"size": settings.size, "epochs": settings.epochs}
        if key_of(row) in done:
            continue
        if time.time() + max(seconds) > ends:
            break
        if seed not in made:
            own = replace(plan, settings=replace(plan.settings, seed=seed))
            made[seed] = make_folds(own, folds)
        fold = made[seed][number]
        started, cpu = time.time(), sum(os.times()[:4])
        with tempfile.TemporaryDirectory() as folder:
            row |= (
                BASELINES[arm](fold.plan, fold.held)
                if arm in BASELINES
                else fit(fold, Arm(arm), Path(folder))
            )
        row |= {"wall_s": time.time() - started, "cpu_s": sum(os.times()[:4]) - cpu}
        row["labels"] = [photo.label for photo in fold.held]
        row["files"] = [photo.path.relative_to(data / "train").as_posix() for photo in fold.held]
        groups = groups_of(plan.data, fold.held, settings.group_regex)
        row["groups"] = list(groups)
        right = np.array(row["probabilities"]).argmax(1) == row["labels"]
        row["accuracy"] = float(right.mean())
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        done.add(key_of(row))
        seconds.append(row["wall_s"])
        count += 1
        console.print(f"{arm} fold {number} seed {seed}: {right.mean():.3f}, {row['wall_s']:.0f} s")
    return count


def main() -> None:
    """Parse the command line and run."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, help="folder with train/CLASS/ photos")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; read and appended to")
    parser.add_argument("--weights", default="imagenet", help="as of flyobj train")
    parser.add_argument("--group-regex", default=None, help="as of flyobj train")
    parser.add_argument("--arms", nargs="+", default=["screen"], help="see benchmarks.training.arms")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="pixels; the default is small, for speed")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--fastai", default="python", help="interpreter that has fastai 2.8")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--minutes", type=float, default=60, help="no run begins that won't end by then")
    own = parser.parse_args()
    torch.set_num_threads(own.threads)
    use_fastai(own.fastai)
    settings = TrainSettings(
        weights=own.weights,
        size=own.size,
        epochs=own.epochs,
        workers=0,
        target=1.0,
        logger="csv",
        group_regex=own.group_regex,
    )
    ends = time.time() + 60 * own.minutes
    run(
        lambda: {
            "runs": study(own.data.absolute(), own.out, settings, own.arms, own.seeds, own.folds, ends)
        }
    )


if __name__ == "__main__":
    main()
