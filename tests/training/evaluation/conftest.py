"""The run's evaluation, made once."""

from pathlib import Path

import pytest

from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.target import BundleTarget


@pytest.fixture(scope="session")
def result(run: Path, dataset: Path) -> Evaluation:
    """The run on the test photos."""
    return evaluate(BundleTarget(run / "bundle"), dataset)
