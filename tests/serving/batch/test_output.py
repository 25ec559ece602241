"""Rows that are cut off anywhere, of other models and of strange names."""

import csv
import json
import os
from pathlib import Path

import pytest

from model.errors import FlyobjError, InputError
from serving.batch.models import Result
from serving.batch.output import CsvRows, JsonRows, Output, RowFormat, as_document, is_close
from serving.batch.photos import PhotoSource

CLASSES = ("bird", "=drone")
NAMES = [
    "a.jpg",
    "=HYPERLINK(1).jpg",
    "'-x.jpg",
    'two\nlines",.jpg',
    "ü\udcff.jpg",
    "no photo.jpg",
    "\r.jpg",
]
DOCUMENTS = [
    as_document(
        Result(PhotoSource(name, name), "5" * 64, error="damaged; mend it")
        if name == "no photo.jpg"
        else Result(
            PhotoSource(name, name),
            f"{number:064x}",
            {"predicted": "=drone", "confidence": 0.75, "probabilities": {"bird": 0.25, "=drone": 0.75}},
        ),
        "m1",
        None,
    )
    for number, name in enumerate(NAMES)
]


def formats() -> list[RowFormat]:
    return [CsvRows(CLASSES), JsonRows()]


def write(path: Path, rows: RowFormat, model: str = "m1", force: bool = False) -> set[str]:
    """Write what isn't there yet; return the photos that were."""
    output = Output(path, rows, model, force)
    output.start(output.done, ())
    output.write([d for d in DOCUMENTS if d["photo"] not in output.done])
    output.close()
    return set(output.done)


@pytest.mark.parametrize("rows", formats(), ids=["csv", "jsonl"])
def test_a_file_cut_off_anywhere_is_completed(
    rows: RowFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here
    path = tmp_path / "out"
    assert write(path, rows) == set()
    whole = path.read_bytes()
    kept = []
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept.append(len(write(path, rows)))
        assert path.read_bytes() == whole, cut
    assert kept == sorted(kept)  # what is whole is never answered again
    assert kept[-1] == len(NAMES)
    assert set(kept) == set(range(len(NAMES) + 1))


def test_csv_as_others_read_it(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write(path, CsvRows(CLASSES))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows][:2] == ["a.jpg", "'=HYPERLINK(1).jpg"]  # no formula
    assert rows[0]["confidence"] == rows[0]["p: =drone"] == "0.75"
    assert (rows[0]["predicted"], rows[0]["runner_up"], rows[0]["error"]) == ("'=drone", "bird", "")
    assert (rows[5]["predicted"], rows[5]["error"], rows[5]["p: bird"]) == ("", "damaged; mend it", "")


def test_json_lines_are_answers(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    write(path, JsonRows())
    rows = [json.loads(line) for line in path.read_bytes().decode("utf-8").splitlines()]
    assert rows == DOCUMENTS
    assert [row["photo"] for row in rows] == NAMES


def test_the_best_k() -> None:
    answer = {"predicted": "b", "confidence": 0.6, "probabilities": {"a": 0.1, "b": 0.6, "c": 0.3}}
    document = as_document(Result(PhotoSource("x", "x"), "5" * 64, answer), "m", 2)
    assert list(document["probabilities"]) == ["b", "c"]
    assert document["runner_up"] == "c"
    assert CsvRows(("a", "b", "c")).encode(document).endswith(",m,,0.6,0.3\r\n")


@pytest.mark.parametrize("rows", formats(), ids=["csv", "jsonl"])
def test_what_is_not_ours_stays(rows: RowFormat, tmp_path: Path) -> None:
    path = tmp_path / "out"
    for content in ("my notes\n", '{"photo": 1}\n', "photo,answer\na.jpg,bird\n", "[]\n"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"exists and can't be continued \(.*--force to replace it"):
            Output(path, rows, "m1", force=False)
        assert path.read_text() == content
    assert write(path, rows, force=True) == set()
    with pytest.raises(InputError, match="of another model or --top-k, 'm1'"):
        Output(path, rows, "m2", force=False)
    with pytest.raises(InputError, match="is a folder"):
        Output(tmp_path, rows, "m1", force=False)


@pytest.mark.parametrize("rows", formats(), ids=["csv", "jsonl"])
def test_a_damaged_row_in_the_middle_is_not_dropped_in_silence(rows: RowFormat, tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, rows)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:2], b"half a\n", *lines[2:]])
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="can't be continued"):
        write(path, rows)
    assert path.read_bytes() == damaged


def test_a_full_disk() -> None:
    output = Output(Path("/dev/full"), JsonRows(), "m1", force=False)
    output.start({}, ())
    with pytest.raises(FlyobjError, match="'/dev/full' can't be written"):
        output.write(DOCUMENTS)
    output.close()


@pytest.mark.parametrize(
    ("best", "second", "close"),
    [(0.6, 0.3, True), (0.61, 0.3, False), (0.5, 0.5, True), (1.0, 0.0, False)],
)
def test_close_is_half_as_probable(best: float, second: float, close: bool) -> None:
    answer = {"predicted": "b", "probabilities": {"a": second, "b": best, "c": 0.0}}
    assert is_close(as_document(Result(PhotoSource("x", "x"), "5", answer), "m", None)) is close
    assert not is_close(as_document(Result(PhotoSource("x", "x"), error="damaged"), "m", None))


@pytest.mark.parametrize("rows", formats(), ids=["csv", "jsonl"])
def test_a_row_that_is_not_kept_goes_if_its_photo_is_asked(rows: RowFormat, tmp_path: Path) -> None:
    """So a photo that has changed since isn't there twice; photos of other calls stay."""
    path, (changed, same, *others) = tmp_path / "out", NAMES
    write(path, rows)
    output = Output(path, rows, "m1", force=False)
    output.start({same: output.done[same]}, {changed, same})
    output.close()
    assert list(Output(path, rows, "m1", force=False).done) == [same, *others]
