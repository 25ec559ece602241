"""Decisions about suspect labels: read however a spreadsheet saved them, carried out, noted, counted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import InputError
from training.data.decisions import (
    Change,
    default_folder,
    open_suspects,
    read_changes,
    read_decisions,
    read_suspects,
    warn_of_suspects,
)
from training.data.manifest import read_manifest
from training.data.photos import read_split
from training.data.prepare.pipeline import merge, prepare, prepare_shard
from training.data.prepare.settings import PrepareSettings
from training.fit.plan import make_plan
from training.fit.settings import TrainSettings

Photos = Callable[..., dict[str, bytes]]
MakePile = Callable[[dict[str, bytes]], Path]

HEADER = "path,label,suggested,score,reason,decision\n"
LINES = (
    "a/0.jpg,a,b,3.2,looks like b,relabel\n"
    "a/1.jpg,a,b,2.9,looks like b,drop\n"
    "b/0.jpg,b,a,1.5,looks like a,Keep\n"
    "b/1.jpg,b,a,1.2,looks like a,\n"
    "b/2.jpg,b,a,-4,,\n"
)


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str = HEADER + LINES, encoding: str = "utf-8") -> Path:
        path = tmp_path / "suspects.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.fixture
def source(pile: MakePile, photos: Photos) -> Path:
    return pile(photos("a/", 8) | photos("b/", 8) | photos("c/", 4))


def edits(text: str) -> dict[str, tuple[str, str]]:
    """The table as programs save it: text and encoding."""
    rows = [line.split(",") for line in text.splitlines()]
    turned = "\n".join(",".join(reversed([*row, "seen"])) for row in rows)
    semicolons = text.replace(",", ";")
    return {
        "semicolons, mark, CRLF": (semicolons.replace("\n", "\r\n"), "utf-8-sig"),
        "old Macintosh": (text.replace("\n", "\r"), "utf-8"),
        "quoted": ("\n".join(",".join(f'"{cell}"' for cell in row) for row in rows), "utf-8"),
        "Unicode text": (text.replace(",", "\t").replace("\n", "\r\n"), "utf-16"),
        "columns moved and added": (turned, "utf-8"),
        "capitals, empty lines": (semicolons.replace("path", "Path", 1) + ";;;;;\n;;;;;\n", "utf-8"),
    }


@pytest.mark.parametrize("how", edits(""))
def test_tables_of_spreadsheets(table: Callable[..., Path], how: str) -> None:
    expected = read_suspects(table())
    assert [s.decision for s in expected] == ["relabel", "drop", "keep", "", ""]
    assert [s.is_open for s in expected] == [False, False, False, True, False]
    assert read_suspects(table(*edits(HEADER + LINES)[how])) == expected


def test_relabels_drops_keeps_and_notes_who(
    source: Path, table: Callable[..., Path], tmp_path: Path
) -> None:
    before = sorted((p, p.read_bytes()) for p in source.rglob("*.jpg"))
    decisions = read_decisions(table(), "Ada")
    summary = prepare(source, tmp_path / "out", PrepareSettings(), workers=1, decisions=decisions)
    assert sorted((p, p.read_bytes()) for p in source.rglob("*.jpg")) == before
    counted = {key: summary["decisions"][key] for key in ("relabel", "drop", "keep", "undecided", "by")}
    assert counted == {"relabel": 1, "drop": 1, "keep": 1, "undecided": 1, "by": "Ada"}
    assert summary["dropped"] == {"dropped by decision": 1}
    assert sum(summary["classes"]["a"][split] for split in ("train", "test")) == 6
    rows = {row.path: row for row in read_manifest(tmp_path / "out" / "manifest.csv")}
    moved = rows["a/0.jpg"]
    # b has a 0.jpg of its own
    assert (moved.class_name, moved.label, moved.file) == ("b", "a", "a/0.jpg")
    assert (moved.decided_by, moved.decided_at) == ("Ada", decisions.at)
    file = tmp_path / "out" / moved.split / "b" / "a" / "0.jpg"
    assert file.read_bytes() == (source / "a/0.jpg").read_bytes()
    assert [rows[name].decision for name in ("a/1.jpg", "b/0.jpg", "b/1.jpg")] == ["drop", "keep", ""]
    assert open_suspects(tmp_path / "out") == (1, tmp_path / "out" / "manifest.csv")
    _, changes = read_changes(tmp_path / "out")
    kept = {path: change for path, change in changes.items() if not change.dropped}
    assert kept == {f"{moved.split}/b/a/0.jpg": Change("a", "b")}
    split = read_split(tmp_path / "out", moved.split)
    assert file in [photo.path for photo in split.photos]


def test_lines_about_what_is_no_photo_or_is_gone_count_for_nothing(
    pile: MakePile, photos: Photos, table: Callable[..., Path], tmp_path: Path
) -> None:
    source = pile({**photos("a/", 5), **photos("b/", 5), "a/words.jpg": b"words"})
    lines = "a/words.jpg,a,b,3,looks like b,drop\na/gone.jpg,a,b,2,looks like b,\n"
    decisions = read_decisions(table(HEADER + lines), "Ada")
    summary = prepare(source, tmp_path / "out", PrepareSettings(), workers=1, decisions=decisions)
    counted = {name: summary["decisions"][name] for name in ("relabel", "drop", "keep", "undecided")}
    assert counted == {"relabel": 0, "drop": 0, "keep": 0, "undecided": 0}
    assert summary["dropped"] == {"not an image": 1}
    (row,) = [r for r in read_manifest(tmp_path / "out" / "manifest.csv") if not r.kept]
    assert (row.path, row.suspect, row.decision, row.decided_by) == ("a/words.jpg", "", "", "")


def test_shards_take_decisions_when_merged(
    source: Path, table: Callable[..., Path], tmp_path: Path
) -> None:
    parts = [tmp_path / "1", tmp_path / "2"]
    for number, part in enumerate(parts, 1):
        prepare_shard(source, part, PrepareSettings(), f"{number}/2", workers=1)
    decisions = read_decisions(table(), "Ada")
    merge(parts, tmp_path / "merged", decisions=decisions)
    prepare(source, tmp_path / "whole", PrepareSettings(), workers=1, decisions=decisions)
    for name in ("manifest.csv", "summary.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_copy_in_two_classes_stays_where_it_was_decided_to_be(
    pile: MakePile, photos: Photos, table: Callable[..., Path], tmp_path: Path
) -> None:
    files = photos("a/", 5) | photos("b/", 5)
    source = pile({**files, "b/copy.jpg": files["a/0.jpg"]})
    for decision, left in (("", 0), ("a/0.jpg,a,b,3,copy,keep\n", 1), ("b/copy.jpg,b,a,3,,drop\n", 1)):
        out = tmp_path / f"out{len(decision)}"
        decisions = read_decisions(table(HEADER + decision), "Ada")
        prepare(source, out, PrepareSettings(), workers=1, decisions=decisions)
        rows = {row.path: row for row in read_manifest(out / "manifest.csv")}
        assert (rows["a/0.jpg"].kept, rows["b/copy.jpg"].kept) == (bool(left), False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a/9.jpg,a,b,1,,drop\n", "decides about 1 of 1 photos that aren't there, such as 'a/9.jpg'"),
        ("a/0.jpg,a,B2,1,,relabel\n", "is decided to be 'B2', which is no class"),
        ("a/0.jpg,a,b,1,,dorp\n", "is decided to be 'dorp', which is no class; allowed are keep, drop"),
        ("a/0.jpg,a,b,1,,drop\na/0.jpg,a,b,1,,keep\n", "has two decisions for 'a/0.jpg', 'drop' and"),
    ],
)
def test_wrong_decisions(
    source: Path, table: Callable[..., Path], tmp_path: Path, lines: str, message: str
) -> None:
    def run() -> None:
        decisions = read_decisions(table(HEADER + lines))
        prepare(source, tmp_path / "out", PrepareSettings(), workers=1, decisions=decisions)

    with pytest.raises(InputError, match=message):
        run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'path'"),
        (b"path,label\nx,y\n", "no column 'decision'"),
        (b"\xff\xfe\x00", "isn't as it was written"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_suspects(tmp_path / "t.csv")
    with pytest.raises(InputError, match="can't be read"):
        read_suspects(tmp_path / "no.csv")


def test_training_warns_of_them(
    photo_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = photo_folder(train={"a": 4, "b": 4})
    beside = default_folder(data)
    beside.mkdir()
    (beside / "suspects.csv").write_text(HEADER + LINES)
    make_plan(data, TrainSettings(weights="none", size=32))
    assert "warning: 1 labels are suspect" in capsys.readouterr().err


def test_undecided_suspects_beside_a_folder_are_warned_of(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_suspects(source) is None
    warn_of_suspects(source, 20)
    assert capsys.readouterr().err == ""
    beside = default_folder(source)
    beside.mkdir()
    (beside / "suspects.csv").write_text(HEADER + LINES)
    warn_of_suspects(source, 20)
    assert "warning: 1 labels are suspect and nobody has decided" in capsys.readouterr().err
    warn_of_suspects(source, 200)
    assert capsys.readouterr().err == ""
    _, changes = read_changes(source)
    assert changes == {"a/0.jpg": Change("a", "b"), "a/1.jpg": Change("a", "")}
    (beside / "suspects.csv").write_text("nothing\n")
    warn_of_suspects(source, 20)  # training goes on
    assert "has no column" in capsys.readouterr().err
