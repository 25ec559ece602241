"""The manifest comes back as it was written, whatever is in a name."""

import csv
from pathlib import Path

import pytest

from model.errors import InputError
from training.data.manifest import HEADER, Reason, Row, read_manifest, write_manifest

NAMES = (
    "a b.jpg",
    'say "cheese",.jpg',
    "two\nlines.jpg",
    "car\rriage.jpg",
    "Möwe 鳥.jpg",
    "bad\udcff.jpg",
    "=1+1.jpg",
)


def test_round_trip(tmp_path: Path) -> None:
    rows = [
        Row(f"@c/{name}", "@c", "train", "g", "ab" * 32, "cd" * 32, 10, 20, 30, "JPEG", "b0s1")
        for name in NAMES
    ]
    rows[1].drop(Reason.NEAR, "why", "c/other.jpg")
    rows[2].reason, rows[2].detail = Reason.EXTENSION, ".png, but a JPEG"
    rows.append(Row("broken", kept=False, reason=Reason.EMPTY))
    write_manifest(rows, tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv") == rows


def test_columns_are_those_promised(tmp_path: Path) -> None:
    write_manifest([Row("c/1.jpg", "c", "test", bytes=7, width=2, height=3)], tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    promised = {"path", "class", "split", "sha256", "bytes", "width", "height", "format"}
    assert promised | {"cluster", "kept", "reason"} <= set(row)
    shown = {k: row[k] for k in ("path", "class", "split", "bytes", "width", "height", "kept", "reason")}
    assert list(shown.values()) == ["c/1.jpg", "c", "test", "7", "2", "3", "yes", ""]


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n1,2\n", ",".join(HEADER) + "\nonly,three,values\n"],
    ids=["empty", "other", "short"],
)
def test_what_is_no_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(InputError, match=r"m\.csv' isn't a valid manifest.*flyobj data prepare"):
        read_manifest(tmp_path / "m.csv")


def test_a_manifest_that_is_missing_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.csv': no such file; give a folder made by `flyobj data p"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(InputError, match=r"can't be read \(Is a directory\); make it again"):
        read_manifest(tmp_path)
