"""The docs' tables of figures: each is found, agrees with itself, and another figure is noticed."""

from typing import Any

import pytest

from benchmarks.figures import FIGURES, Figures, Row, differs, main, number, table_of


def document_of(figures: Figures, rows: list[Row], factor: float = 1.0) -> dict[str, Any]:
    """What the command would print to give these rows, times `factor`."""
    if figures.program == "verdicts":
        cases = [
            (r[0], d, cell) for r in rows for d, cell in zip((0.02, 0.0, -0.02), r[1:], strict=True)
        ]
        found = [
            {"margin": float(m), "difference": d, "photos": factor * number(c)} for m, d, c in cases
        ]
        return {"rows": found}
    if figures.program.startswith("fuzz"):
        status = {kind: str(int(factor * int(got))) for kind, _, got in rows}
        return {"kinds": {r[0]: {"expected": r[1], "got": {status[r[0]]: 1}} for r in rows}}
    events = [
        {"event": r[0], "failed": factor - 1, "wrong": factor - 1, "longest_s": number(r[5]) * factor}
        for r in rows
    ]
    return {"events": events}


@pytest.mark.parametrize("figures", FIGURES, ids=lambda figures: figures.page)
def test_a_table_is_compared_row_by_row(figures: Figures) -> None:
    rows = table_of(figures)
    assert len(rows) >= 3
    for factor, differ in ((1.0, False), (2.0, True)):
        document = document_of(figures, rows, factor)
        found = [figures.compare(row, document) is not None for row in rows]
        assert found == [differ] * len(rows)


def test_a_figure_may_differ_by_its_factor() -> None:
    assert [differs("1,200 s", now, 2) is None for now in (599, 600, 1200, 2400, 2401)] == [
        *(False, True, True, True, False)
    ]
    assert differs("0", 1, 10) == "0 in the docs, 1 now"
    with pytest.raises(ValueError, match="no number in 'none'"):
        number("none")


def test_words_that_choose_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing compared would be "as the docs say"."""
    monkeypatch.setattr("sys.argv", ["figures", "--only", "survive"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--only 'survive' is in none of the commands: verdicts, fuzz" in capsys.readouterr().err
