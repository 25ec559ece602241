"""Evaluation: figures that agree with one another, whatever answers, and the files that show them."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.answers import as_probabilities
from model.bundle import read_bundle
from model.errors import FlyobjError, InputError
from training.calibrate import CalibrationFit
from training.evaluation.card import render_card
from training.evaluation.compare import compare_targets, read_labelled
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.gallery import picture_mistakes
from training.evaluation.history import History, read_history
from training.evaluation.publish import OWN, check_folder, publish
from training.evaluation.target import Answer, BundleTarget


class Oracle:
    """Knows photos by their content, and answers with the probabilities that it is told."""

    def __init__(self, classes: Sequence[str], rows: dict[bytes, Sequence[float]], below: float = 0.0):
        self.description = "oracle"
        self.spec = None
        self.classes = tuple(classes)
        self._rows, self._below = rows, below

    def answer(self, photos: Sequence[bytes], explain: bool = False) -> list[Answer]:
        del explain
        answers: list[Answer] = []
        for photo in photos:
            row = np.array(self._rows.get(photo, []), np.float32)
            if not len(row):
                answers.append({"code": 413, "message": "the photo is too large"})
                continue
            name = self.classes[row.argmax()] if row.max() >= self._below else "unknown"
            answers.append({"predicted": name, "probabilities": as_probabilities(self.classes, row)})
        return answers


def test_figures_agree(result: Evaluation, run: Path) -> None:
    classes = read_bundle(run / "bundle").spec.classes
    confusion = np.array(result.confusion)
    assert confusion.sum(1).tolist() == [2, 2, 2, 2]  # photos of each true class
    assert result.photos == confusion.sum() == 8
    assert result.accuracy == np.trace(confusion) / 8
    assert len(result.mistakes) == 8 - np.trace(confusion)
    for mistake in result.mistakes:
        assert Path(mistake.file).parts[:2] == ("test", mistake.truth)
        assert mistake.truth != mistake.predicted
        assert confusion[classes.index(mistake.truth), classes.index(mistake.predicted)] > 0
    confidences = [mistake.confidence for mistake in result.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert sum(b.photos for b in result.reliability.bins) == 8
    assert result.intervals_over == "8 photos, as no groups are known"
    assert list(result.per_class) == list(classes)


def test_classes_are_matched_by_name_not_by_place(
    result: Evaluation, run: Path, dataset: Path, tmp_path: Path
) -> None:
    for name in ("Large QuadCopters", "Winged Drones"):
        (tmp_path / "test").mkdir(exist_ok=True)
        (tmp_path / "test" / name).symlink_to(dataset / "test" / name, target_is_directory=True)
    part = evaluate(BundleTarget(run / "bundle"), tmp_path)
    assert part.confusion == [row if i in (1, 3) else [0] * 4 for i, row in enumerate(result.confusion)]


def test_a_class_that_the_model_does_not_know_is_refused(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "test").mkdir()
    for name in ("Flying Birds", "Balloons"):
        (tmp_path / "test" / name).symlink_to(dataset / "test" / "Flying Birds")
    with pytest.raises(InputError, match=r"has classes \['Balloons'\] that the model doesn't know; it"):
        evaluate(BundleTarget(run / "bundle"), tmp_path)


@pytest.fixture
def known(photo_folder: Any) -> tuple[Path, dict[bytes, Sequence[float]]]:
    """Three photos of each of two classes, and their probabilities: one mistake."""
    data = photo_folder(test={"a": 3, "b": 3})
    rows = [(0.9, 0.1), (0.6, 0.4), (0.2, 0.8), (0.1, 0.9), (0.3, 0.7), (0.45, 0.55)]
    photos = [path.read_bytes() for path in sorted((data / "test").rglob("*.jpg"))]
    return data, dict(zip(photos, rows, strict=True))


def test_a_target_of_known_answers(known: Any) -> None:
    data, rows = known
    found = evaluate(Oracle("ab", rows), data, group_regex=r"\d")
    assert found.confusion == [[2, 1], [0, 3]]
    assert (found.accuracy, found.macro_f1) == (5 / 6, pytest.approx((0.8 + 6 / 7) / 2))
    (mistake,) = found.mistakes
    assert (mistake.file, mistake.predicted) == ("test/a/2.jpg", "b")
    assert found.intervals_over == r"3 groups by \d"
    assert found.calibration is None
    assert found.uncalibrated is None


def test_unknown_is_no_right_answer_where_two_are_compared(known: Any) -> None:
    data, rows = known
    (found,) = compare_targets([Oracle("ab", rows, below=0.65)], Oracle("ab", rows), data)
    assert [flip.photo for flip in found.flips if flip.lost] == ["test/a/1.jpg", "test/b/2.jpg"]
    assert (found.comparison.all.new, found.comparison.all.old) == (3 / 6, 5 / 6)


def test_a_class_that_neither_of_two_knows_is_refused_before_they_are_asked(known: Any) -> None:
    data, rows = known
    assert compare_targets([Oracle("ab", rows)], Oracle("ac", rows), data)
    nothing: dict[bytes, Sequence[float]] = {}  # it refuses every photo
    with pytest.raises(InputError, match=r"\['b'\]"):
        compare_targets([Oracle("ac", nothing)], Oracle("ac", nothing), data)


@pytest.mark.parametrize(("limit", "numbers"), [(2, [0, 3]), (4, [0, 2, 4]), (9, [0, 1, 2, 3, 4, 5])])
def test_some_photos_are_of_all_classes(known: Any, limit: int, numbers: list[int]) -> None:
    read = read_labelled(known[0], "test", None, limit)
    every = sorted((known[0] / "test").rglob("*.jpg"))
    assert read.paths == tuple(every[i] for i in numbers)
    assert list(read.labels.truth) == ["aaabbb"[i] for i in numbers]


def test_strangers_and_photos_that_are_not_named(known: Any, jpeg: Any, tmp_path: Path) -> None:
    data, rows = known
    folder = tmp_path / "strange" / "deep"
    folder.mkdir(parents=True)
    for number, row in enumerate([(0.5, 0.5), (0.58, 0.42), (0.95, 0.05)]):
        photo = jpeg(100 + number)
        (folder / f"{number}.jpg").write_bytes(photo)
        rows[photo] = row
    (folder / "notes.txt").write_text("words")
    found = evaluate(Oracle("ab", rows, below=0.59), data, out_of_distribution=folder.parent)
    assert found.unknown == 1
    assert found.out_of_distribution
    assert (
        found.out_of_distribution.photos,
        found.out_of_distribution.skipped,
        found.out_of_distribution.unknown,
    ) == (3, 1, 2)
    # Of 6 x 3 pairs the known photo is the more confident one in all but those with 0.95 (6) and
    # that of 0.55 with 0.58.
    assert found.out_of_distribution.auroc == pytest.approx(11 / 18)
    assert found.accuracy == 5 / 6  # of the best class, named or not
    shipped = json.dumps(found.figures())  # with the model: no word of where things lie
    assert '"photos": 3' in shipped
    assert str(tmp_path) not in shipped


def test_a_folder_of_unknown_photos_without_any(known: Any, tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    with pytest.raises(InputError, match="has no readable photo"):
        evaluate(Oracle("ab", known[1]), known[0], out_of_distribution=tmp_path / "no")


def test_a_photo_that_the_target_refuses_is_named(known: Any) -> None:
    data, rows = known
    rows.pop(next(iter(rows)))
    with pytest.raises(FlyobjError, match=r"oracle refuses '.*0\.jpg': the photo is too large"):
        evaluate(Oracle("ab", rows), data)


def test_agreement_goes_by_the_classes_names(known: Any) -> None:
    data, rows = known
    turned = {photo: row[::-1] for photo, row in rows.items()}
    last = list(rows)[-1]
    off = {**rows, last: (0.55, 0.45)}
    same, apart = evaluate(
        Oracle("ab", rows), data, against=[Oracle("ba", turned), Oracle("ab", off)]
    ).agreement
    assert same.agrees
    assert (same.largest_difference, same.flips) == (0, ())
    assert not apart.agrees
    assert apart.largest_difference == pytest.approx(0.1)
    assert [(f.file, f.here, f.there) for f in apart.flips] == [("test/b/2.jpg", "b", "a")]


def test_models_of_other_classes_are_not_compared(known: Any) -> None:
    data, rows = known
    with pytest.raises(InputError, match="only models of the same classes can be compared"):
        evaluate(Oracle("ab", rows), data, against=[Oracle("ac", rows)])


def test_a_temperature_is_undone_for_comparison(
    run_copy: Path, dataset: Path, result: Evaluation
) -> None:
    path = run_copy / "bundle" / "model.json"
    document = json.loads(path.read_text())
    document["calibration"]["temperature"] = 2.0
    path.write_text(json.dumps(document))
    hot = evaluate(BundleTarget(run_copy / "bundle"), dataset)
    assert hot.uncalibrated
    assert hot.uncalibrated.nll == pytest.approx(result.reliability.nll, rel=1e-4)
    assert hot.reliability.nll != pytest.approx(result.reliability.nll, rel=1e-3)
    assert hot.confusion == result.confusion


def test_what_is_published(result: Evaluation, run: Path, dataset: Path, tmp_path: Path) -> None:
    target, history = BundleTarget(run / "bundle"), read_history(run)
    lacking = {"range_tests.png", "out_of_distribution.png"}  # no range test, no such photos
    for name in lacking:
        (tmp_path / name).write_bytes(b"of another evaluation")
    (tmp_path / "notes.txt").write_text("mine")
    files = publish(result, target, history, tmp_path, title="first <try>", data=dataset)
    written = {path.name for path in files}
    assert written == set(OWN) - lacking
    assert {p.name for p in tmp_path.iterdir()} == {*written, "notes.txt"}
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["confusion"] == result.confusion
    assert len(document["mistakes"]) == len(result.mistakes)
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 250
    page = (tmp_path / "report.html").read_text()
    assert "first &lt;try&gt;" in page
    assert "<try>" not in page
    assert not re.search(r'(?:src|href)="(?!data:image/|#)', page)  # nothing to load
    assert page.count("data:image/jpeg") == 2 * len(result.mistakes)  # the photo and its heat map
    assert page.count('<svg role="img"') == 4
    for stage in json.loads((run / "run.json").read_text())["stages"]:
        assert f"<td>{stage['stage']['name']}<td" in page


def test_names_are_no_markdown(known: Any, run: Path) -> None:
    data, rows = known
    for old, new in (("a", "a|b"), ("b", "*<b>*")):
        (data / "test" / old).rename(data / "test" / new)
    result = evaluate(Oracle(["a|b", "*<b>*"], rows), data)
    spec = replace(read_bundle(run / "bundle").spec, classes=("a|b", "*<b>*"))
    card = render_card("x_y_z", "data", result, History(), spec, "unknown")
    assert "# x\\_y\\_z\n" in card
    assert "| a\\|b | 3 |" in card
    assert "| \\*\\<b\\>\\* | 3 |" in card


def test_a_target_that_tells_nothing_of_itself(known: Any, tmp_path: Path) -> None:
    data, rows = known
    target = Oracle("ab", rows)
    publish(evaluate(target, data), target, History(), tmp_path, title="x", data=data)
    assert not (tmp_path / "MODEL_CARD.md").exists()
    page = (tmp_path / "report.html").read_text()
    assert "doesn't explain its answers" in page.replace("&#39;", "'")
    assert page.count("data:image/jpeg") == 1


def test_ten_mistakes_of_each_class_beside_the_most_confident(
    jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    """40 photos of a class, all wrong and the most confident; 12 of another; one of a third."""
    rows, counts = {}, {"a": 40, "b": 12, "c": 1}
    for label, (name, count) in enumerate(counts.items()):
        (tmp_path / "test" / name).mkdir(parents=True)
        for i in range(count):
            photo = jpeg(100 * label + i)
            (tmp_path / "test" / name / f"{i:02}.jpg").write_bytes(photo)
            row = [0.0, 0.0, 0.0]
            row[(label + 1) % 3] = 0.99 - 0.1 * label - 0.001 * i
            row[label] = 1 - sum(row)
            rows[photo] = row
    target = Oracle("abc", rows)
    mistakes = evaluate(target, tmp_path).mistakes
    gallery = picture_mistakes(target, mistakes, tmp_path)
    assert [p.mistake for p in gallery.most_confident] == list(mistakes[:24])
    shown = {name: [p.mistake.file for p in own] for name, own in gallery.by_class.items()}
    files = {name: [f"test/{name}/{i:02}.jpg" for i in range(min(n, 10))] for name, n in counts.items()}
    assert shown == files
    few = picture_mistakes(target, mistakes[:24], tmp_path)
    assert (len(few.most_confident), few.by_class) == (24, {})  # those are all


def test_what_the_temperature_did_is_on_the_page(
    run_copy: Path, dataset: Path, result: Evaluation, tmp_path: Path
) -> None:
    path = run_copy / "run.json"
    fit = CalibrationFit(1.0, 2.12, 37, 0.0351, 0.0652, 0.3, 0.4, (-0.1, 0.05), "not kept: no", 9, 0)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "calibration": asdict(fit)}))
    history = read_history(run_copy)
    assert history.calibration
    assert (history.calibration.tried, history.calibration.note) == (2.12, "not kept: no")
    publish(
        result, BundleTarget(run_copy / "bundle"), history, tmp_path / "out", title="x", data=dataset
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(
        r"held out<td.{,99}>1<.{,99}3\.5 %.{,99}held out.{,99}>2\.12<.{,99}6\.5 %", page, re.S
    )
    assert "Not kept: no." in page
    del document["calibration"]["tried"]  # of an earlier version
    path.write_text(json.dumps(document))
    assert read_history(run_copy).calibration is None
    path.write_text(json.dumps({**document, "calibration": {"tried": "hot"}}))
    with pytest.raises(InputError, match=r"run\.json"):
        read_history(run_copy)
    path.write_text(json.dumps({**document, "calibration": {"tried": 2.0}}))
    with pytest.raises(InputError, match=r"run\.json"):
        read_history(run_copy)


def test_names_that_are_no_utf8_are_published(known: Any, tmp_path: Path) -> None:
    data, rows = known
    old = data / "test" / "a" / "2.jpg"
    old.rename(old.with_name("gr\udcfcn.jpg"))
    target = Oracle("ab", rows)
    result = evaluate(target, data)
    publish(result, target, History(), tmp_path / "out", title="x", data=data)
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert document["mistakes"][0]["file"] == "test/a/gr\udcfcn.jpg"


def test_only_an_empty_folder_is_written_into_unasked(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", force=False)
    check_folder(tmp_path, force=False)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="exists already; name another folder, or give --force"):
        check_folder(tmp_path, force=False)
    check_folder(tmp_path, force=True)
    with pytest.raises(InputError, match="is a file; name a folder"):
        check_folder(tmp_path / "file", force=True)
