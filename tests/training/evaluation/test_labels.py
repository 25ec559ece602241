"""Accuracy with and without labels that were decided to be wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data.decisions import default_folder, read_decisions
from training.data.prepare.pipeline import prepare
from training.data.prepare.settings import PrepareSettings
from training.evaluation.labels import LabelCheck, check_labels

TABLE = (
    "path,label,suggested,score,reason,decision\n"
    "test/a/0.jpg,a,b,3,looks like b,relabel\n"
    "test/a/1.jpg,a,b,2,looks like b,drop\n"
    "test/b/2.jpg,b,a,2,looks like a,keep\n"
    "train/b/0.jpg,b,a,2,looks like a,relabel\n"
)


@pytest.fixture
def data(photo_folder: Callable[..., Path]) -> Path:
    return photo_folder(train={"a": 4, "b": 4}, test={"a": 4, "b": 4})


def check(data: Path, answer: Callable[[str], int]) -> LabelCheck | None:
    """Answer the test photos of a folder by their content's first name: a0 to a3, b0 to b3."""
    paths = sorted((data / "test").rglob("*.jpg"))
    files = [path.relative_to(data).as_posix() for path in paths]
    truth = np.array([file.split("/")[1] == "b" for file in files], np.int64)
    predicted = np.array([answer(path.name) for path in paths], np.int64)
    places = np.arange(len(files))
    return check_labels(data, data / "test", files, truth, predicted, places, ("a", "b"))


def test_nothing_decided(data: Path) -> None:
    assert check(data, lambda _: 0) is None


def test_decisions_beside_the_folder(data: Path) -> None:
    folder = default_folder(data)
    folder.mkdir()
    (folder / "suspects.csv").write_text(TABLE)
    found = check(data, lambda _: 1)  # all are called b
    assert found is not None
    assert (found.wrong, found.dropped, found.gone) == (2, 1, 0)
    assert found.as_labelled == 4 / 8
    assert found.mended == 5 / 7  # a/0 is b now, a/1 none of it
    assert (found.without, found.without_photos) == (4 / 6, 6)
    assert found.source == str(folder / "suspects.csv")


def test_decisions_in_the_manifest(data: Path, tmp_path: Path) -> None:
    (tmp_path / "suspects.csv").write_text(TABLE)
    decisions = read_decisions(tmp_path / "suspects.csv")
    out = tmp_path / "out"
    prepare(data, out, PrepareSettings(), workers=1, decisions=decisions)
    found = check(out, lambda _: 1)
    assert found is not None
    assert (found.wrong, found.dropped, found.gone) == (2, 1, 1)
    assert found.as_labelled == 4 / 7
    assert found.mended == 5 / 7
    assert (found.without, found.without_photos) == (4 / 6, 6)
