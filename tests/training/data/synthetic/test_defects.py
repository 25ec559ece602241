"""The defects that are planted are all found, and nothing else is."""

from collections import Counter
from pathlib import Path

import pytest

from model.errors import InputError
from training.data.manifest import Reason, Row, read_manifest
from training.data.prepare.pipeline import prepare
from training.data.prepare.settings import PrepareSettings
from training.data.synthetic.defects import KINDS, Defect, Score, plant, read_defects, score
from training.data.synthetic.draw import synthesize


def test_each_kind_is_found(tmp_path: Path) -> None:
    counts = synthesize(tmp_path / "photos", 14, seed=2, workers=1, defects=True)
    planted = read_defects(tmp_path / "photos")
    few = [kind for kind in KINDS if kind is not Reason.PRUNED]  # classes of 14 aren't pruned
    assert counts["defects"] == len(planted) == 2 * len(few)
    assert Counter(d.kind for d in planted) == dict.fromkeys(few, 2)
    prepare(tmp_path / "photos", tmp_path / "out", PrepareSettings(), workers=1)
    scores = score(planted, read_manifest(tmp_path / "out" / "manifest.csv"))
    assert {kind: (s.recall, s.precision) for kind, s in scores.items()} == dict.fromkeys(KINDS, (1, 1))


@pytest.mark.slow
def test_thumbnails_and_banners_are_found_and_large_photos_kept(tmp_path: Path) -> None:
    synthesize(tmp_path / "photos", 120, seed=1, defects=True)
    planted = read_defects(tmp_path / "photos")
    prepare(tmp_path / "photos", tmp_path / "out", PrepareSettings())
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    found = score(planted, rows)[Reason.PRUNED]
    assert (found.planted, found.reported, found.right) == (2, 2, 2)
    assert {(r.width, r.height) for r in rows if r.reason is Reason.PRUNED} == {(48, 36), (400, 36)}
    large = [row for row in rows if max(row.width, row.height) > 1700]  # than any that is drawn
    assert 1 <= len(large) <= 2
    assert all(row.kept for row in large)


def test_score_of_a_cleaning_that_is_wrong() -> None:
    planted = [
        Defect("a/1", Reason.EMPTY),
        Defect("a/2", Reason.EMPTY),
        Defect("a/4", Reason.NEAR, "a/3"),
    ]
    rows = [Row("a/1"), Row("a/9"), Row("a/3"), Row("a/5")]
    rows[0].drop(Reason.EMPTY)
    rows[1].drop(Reason.EMPTY)
    rows[2].drop(Reason.NEAR, other="a/4")  # the other of the two
    rows[3].drop(Reason.NEAR, other="a/6")
    scores = score(planted, rows)
    assert scores[Reason.EMPTY] == Score(2, 2, 1)
    assert (scores[Reason.EMPTY].recall, scores[Reason.EMPTY].precision) == (0.5, 0.5)
    assert (scores[Reason.NEAR].recall, scores[Reason.NEAR].precision) == (1, 0.5)


def test_too_few_photos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="12 photos are too few for 2 defects of 10 kinds"):
        synthesize(tmp_path / "photos", 3, seed=0, workers=1, defects=True)
    assert not (tmp_path / "photos").exists()
    with pytest.raises(InputError, match="0 photos are too few"):
        plant(tmp_path, 0)
