"""Several models on the same photos: how good each is, what an answer costs, and which is the cheapest.

Costs are of runs and bundles, on this machine: CPU time of one thread from the bytes of a photo to its
answer, with the engine that an archive would have, measured in turn.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.bundle import read_bundle
from model.engines import FOLDER, choose_engine, write_engines
from model.predictor import Predictor
from model.run_folder import find_bundle
from report.comparison import Comparison
from report.intervals import Interval
from report.progress import track
from training.evaluation.compare import TargetComparison

_PHOTOS = 16
_BATCH = 8  # as a worker is asked when there is much to do
_ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """What a run costs: CPU milliseconds an answer, and the MiB of the graph that is served."""

    cpu_ms: float
    mib: float


@dataclass(frozen=True)
class Row:
    """A model in the table.

    `comparison` is with the one that all are compared with; None for that one.
    """

    name: str
    precision: str
    pixels: int | None
    accuracy: float
    accuracy_95: Interval
    comparison: Comparison | None
    cost: Cost | None

    @property
    def losing(self) -> list[tuple[str, float]]:
        """The classes of which fewer photos are right than before, and the difference."""
        rows = self.comparison.per_class.items() if self.comparison else ()
        return [(name, row.difference) for name, row in rows if row.difference < 0]

    @property
    def acceptable(self) -> bool:
        """Whether it may take the place of the one that it is compared with."""
        return self.comparison is None or self.comparison.acceptable


def cheapest(rows: Sequence[Row]) -> Row | None:
    """The one with the least CPU time of those that aren't worse; None where no cost is known."""
    known = [(row.cost.cpu_ms, i, row) for i, row in enumerate(rows) if row.cost and row.acceptable]
    return min(known)[2] if known else None


def table_of(results: Mapping[str, TargetComparison], old: str, costs: Mapping[str, Cost]) -> list[Row]:
    """Lay out comparisons with one old model, by the new models' names; the old one comes first."""
    first = next(iter(results.values()))
    facts = (first.old_facts.precision, first.old_facts.pixels, first.comparison.all.old)
    rows = [Row(old, *facts, first.old_facts.accuracy_95, None, costs.get(old))]
    for name, result in results.items():
        facts = (result.new_facts.precision, result.new_facts.pixels, result.comparison.all.new)
        interval = result.new_facts.accuracy_95
        rows.append(Row(name, *facts, interval, result.comparison, costs.get(name)))
    return rows


def measure_costs(runs: Mapping[str, Path], photos: Sequence[Path]) -> dict[str, Cost]:
    """Measure runs or bundles by their names, with some of the photos."""
    contents = [photo.read_bytes() for photo in photos[:: max(1, len(photos) // _PHOTOS)][:_PHOTOS]]
    with tempfile.TemporaryDirectory(prefix="flyobj-costs-") as folder:
        predictors: dict[str, Predictor] = {}
        sizes: dict[str, int] = {}
        for name, run in track(runs.items(), "loading engines"):
            bundle, engines = read_bundle(find_bundle(run)), Path(folder, str(len(sizes)), FOLDER)
            write_engines(bundle, engines, "auto")
            graph = bundle.graph or engines / "openvino.xml"
            sizes[name] = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.stem}.*"))
            predictors[name] = Predictor(bundle, choose_engine(bundle, engines))
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in track(range(_ROUNDS), "measuring costs"):
            for name, predictor in predictors.items():
                started = time.process_time()
                for i in range(0, len(contents), _BATCH):
                    predictor.answer([predictor.prepare(photo) for photo in contents[i : i + _BATCH]])
                times[name].append((time.process_time() - started) / len(contents))
    return {name: Cost(1000 * float(np.median(times[name])), sizes[name] / 2**20) for name in runs}
