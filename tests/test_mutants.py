"""The table of changes that tests must notice is true: each place is there, and so are its tests."""

from pathlib import Path

from tests.mutants import TABLE, Mutant, read_table, unusable


def test_every_change_can_be_made() -> None:
    mutants = read_table()
    assert [why for mutant in mutants if (why := unusable(mutant))] == []
    assert len({(m.file, m.before, m.after) for m in mutants}) == len(mutants)
    assert len(mutants) >= 120


def test_every_room_is_in_it() -> None:
    rooms = {mutant.file.split("/")[0] for mutant in read_table()}
    assert rooms >= {"model", "handler", "serving", "loadtest", "report", "training", "deploy"}


def test_what_is_no_change_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\ny = 2\n")
    (tmp_path / "test_a.py").touch()
    for before, after, tests, why in (
        ("x = 1", "x = 2", "test_a.py", "found 2 times"),
        ("z = 1", "z = 2", "test_a.py", "found 0 times"),
        ("y = 2", "y = 2", "test_a.py", "must be once"),
        ("y = 2", "y = 3", "test_a.py::one test_b.py", r"no such tests \['test_b.py'\]"),
        ("y = 2", "y = 3", "", "no such tests"),
    ):
        found = unusable(Mutant("a.py", before, after, tests), tmp_path)
        assert found is not None
        assert why.replace("\\", "") in found
    assert unusable(Mutant("a.py", "y = 2", "y = 3", "test_a.py::one"), tmp_path) is None
    assert TABLE.is_file()
