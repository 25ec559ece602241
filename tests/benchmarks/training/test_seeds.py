"""The same training with several seeds: runs that are there aren't run again, mean and worst."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.training.seeds import measure
from model.errors import InputError
from model.files import read_json


@pytest.mark.slow
def test_what_is_there_is_kept_and_what_is_missing_is_done(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    for seed in (3, 5):
        shutil.copytree(run, tmp_path / str(seed))
    known = {"accuracy": 0.125, "accuracy_95": [0.0, 0.5]}
    (tmp_path / "5" / "evaluation").mkdir()
    (tmp_path / "5" / "evaluation" / "evaluation.json").write_text(json.dumps(known))
    picture = tmp_path / "tests.png"
    document = measure(
        Namespace(data=dataset, out=tmp_path, seeds=[3, 5], options=[], range_tests=picture)
    )
    measured = read_json(tmp_path / "3" / "evaluation" / "evaluation.json")["accuracy"]
    assert [row["test"] for row in document["runs"]] == [measured, 0.125]
    assert document["mean"] == pytest.approx((measured + 0.125) / 2)
    assert document["worst"] == min(measured, 0.125)


def test_its_own_options_are_refused(tmp_path: Path) -> None:
    options = ["--size", "64", "--seed", "3"]
    with pytest.raises(InputError, match="--seed is this program's to give; leave it out"):
        measure(Namespace(data=tmp_path, out=tmp_path, seeds=[0], options=options, range_tests=None))
