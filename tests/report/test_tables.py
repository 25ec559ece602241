"""Tables for spreadsheets: nothing in them is a formula, and all of it comes back."""

import csv
from pathlib import Path

import pytest

from model.errors import InputError
from report.tables import csv_text, read_csv, read_edited_csv, write_csv

FORMULAS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "=",
    "-",
    "--1",
    "-0.5%",
)
PLAIN = ("a", "", "a=1", "'quoted'", "-0.5", "+3", "-1e-05", "[b]", 'say "=1"', "Möwe", "bad\udcff")


def test_texts_that_a_spreadsheet_would_compute_are_guarded(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["=head", "n"], [(text, -0.5) for text in FORMULAS])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["'=head", "n"], *([f"'{text}", "-0.5"] for text in FORMULAS)]


def test_numbers_and_other_texts_stay_as_they_are() -> None:
    rows = list(csv.reader(csv_text(["a", "b"], [(text, -3) for text in PLAIN]).splitlines()))
    assert rows == [["a", "b"], *([text, "-3"] for text in PLAIN)]


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN, "'=1", "''=1", "'-0.5", "''"])
def test_every_text_comes_back(text: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["h"], [(text, "x")])
    assert list(read_csv(tmp_path / "t.csv")) == [["h"], [text, "x"]]


def test_a_cell_without_an_end_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,"' + "x" * 200_000)
    with pytest.raises(InputError, match=r"t\.csv' isn't as it was written \(field larger.*ask again"):
        read_edited_csv(tmp_path / "t.csv", "ask again")
