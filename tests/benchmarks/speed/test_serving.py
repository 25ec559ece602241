"""The comparison of servers: its contenders, and what becomes of one that can't run."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks.speed.peers
from benchmarks.speed.inputs import draw_photos
from benchmarks.speed.peers import Site, contenders
from benchmarks.speed.serving import PeerComparison, Row, main, report
from benchmarks.speed.serving_report import median, print_table
from benchmarks.speed.stages import Clock
from model.image import decode_photo


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--contenders", "fastapi", "flask"],
            "invalid choice: 'flask' (choose from 'in-process'",
        ),
        (["--seconds", "0"], "must be above 0"),
        (["--widths", "16"], "32 px or more"),
    ],
)
def test_a_wrong_option_has_exit_code_2(
    options: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["serving", *options])
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process's stay as they are
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_each_server_runs_our_engine_and_its_manuals() -> None:
    rows = contenders()
    for server in ("in-process", "fastapi", "litserve", "bentoml", "mlserver"):
        assert rows[server].engine == "ours"
        assert rows[f"{server}:manual"].engine == "manual"
        assert rows[f"{server}:manual"].requirements == rows[server].requirements
        assert rows[server].requirements.is_file() == (server != "in-process")
    assert rows["torchserve:manual"].requirements.is_file()
    assert "flying-objects:manual" not in rows
    base, fewer = Site(Path("a"), Path("a"), Path("a")), Site(Path("b"), Path("b"), Path("b"))
    given = replace(base, variants={"int8": fewer})
    assert rows["fastapi"].choose_site(given) is rows["fastapi:manual"].choose_site(given) is given
    assert rows["fastapi:int8"].choose_site(given) is fewer
    assert (rows["fastapi:int8"].engine, rows["fastapi:int8"].server) == ("ours", "fastapi")


@pytest.mark.slow
def test_a_peer_that_does_not_install_gets_a_row_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fastapi.txt").write_text("./no-such-package.whl\n")
    monkeypatch.setattr(benchmarks.speed.peers, "PINS", tmp_path)
    monkeypatch.setattr(benchmarks.speed.peers, "ENVIRONMENTS", tmp_path / "peers")
    row = Row(contenders()["fastapi"])
    comparison = object.__new__(PeerComparison)
    comparison.given, comparison.rows = Site(tmp_path, tmp_path, tmp_path), [row]
    comparison.photos, comparison.arguments = {}, argparse.Namespace(quick=True)
    comparison.start(row)
    comparison.measure(row, 640, 32)
    document = report(comparison)
    assert "doesn't install" in document["contenders"]["fastapi"]["failed"]
    print_table(document)
    assert "doesn't install" in " ".join(capsys.readouterr().out.split())


def test_rounds_are_summed_up_by_their_median() -> None:
    rounds = [{"errors": 1, "per_s": rate, "cpu_ms": 5.0} for rate in (30.0, 10.0, 20.0)]
    merged = median(rounds)
    assert (merged["errors"], merged["per_s"], merged["cpu_ms"]) == (3, 20.0, 5.0)
    assert merged["per_s_all"] == [30.0, 10.0, 20.0]


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1920, 1080), (400, 300)])
def test_photos_have_their_size_and_stay_the_same(width: int, height: int) -> None:
    (photo,) = draw_photos(width, 1)
    assert decode_photo(photo).shape == (height, width, 3)
    assert draw_photos(width, 1) == [photo]


def test_a_stages_time_leaves_out_its_inner_stages() -> None:
    clock = Clock()

    def burn() -> int:
        return sum(i * i for i in range(300_000))

    inner = clock.wrap("inner", burn)
    clock.wrap("outer", lambda: [inner() for _ in range(5)])()
    assert 0 <= clock.spent["outer"] < clock.spent["inner"]
