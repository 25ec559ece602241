"""The capacity of a real server, what is written of it, and two compared with each other."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from loadtest.capacity import find
from loadtest.capacity.compare import compare, require_no_regression
from loadtest.capacity.figures import Latencies, ProbeFigures
from loadtest.capacity.find import CapacitySettings, find_capacity
from loadtest.capacity.page import write_comparison, write_page
from loadtest.capacity.records import (
    Capacity,
    EndReason,
    Probe,
    Second,
    read_capacity,
    require_knee,
    write_figures,
)
from loadtest.capacity.search import ProbeOutcome, Step, Verdict, knee_of
from loadtest.photos import Photos, photos_to_send
from model.errors import FlyobjError, InputError, Interrupted
from serving.rollout.operations import deploy
from serving.server import lifecycle

SHORT = CapacitySettings(p99_ms=2000, probe_s=1, first_rate=10, max_minutes=0.4)


@pytest.fixture
def photos(dataset: Path) -> Photos:
    return photos_to_send(dataset / "test")


@pytest.fixture(scope="module")
def searched(
    flyobj: Callable[..., Any], server: Any, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a real search of the shared server, cut short by its time."""
    out = tmp_path_factory.mktemp("capacity") / "first"
    options = {"--p99-ms": 2000, "--first-rate": 10, "--probe-seconds": 1, "--max-minutes": 0.3}
    options |= {"--photos": dataset / "test", "--home": server.path, "--out": out}
    words = ("loadtest", "--find-capacity", "--json", *(w for pair in options.items() for w in pair))
    ended = flyobj(*words)
    assert json.loads(ended.stdout) == json.loads((out / "capacity.json").read_text())
    assert "10/s held" in ended.stderr
    again = flyobj(*words, code=2)
    assert f"'{out}' exists already; give another --out" in again.stderr
    return out


def test_a_real_search_counts_what_the_server_counts(searched: Path) -> None:
    measured = read_capacity(searched)
    assert measured.ended is EndReason.OUT_OF_TIME
    assert measured.knee.rate
    assert not measured.knee.confirmed
    assert [p.rate for p in measured.probes[:2]] == [10, 20]
    held = [p for p in measured.probes if p.figures.verdict is Verdict.HELD]
    for probe in held:
        assert probe.figures.failed == 0
        # the server's own count of what it took in that time, by batches
        took = sum(size * count for size, count in probe.batches.items())
        assert took == round(probe.rate * 0.25) + round(probe.rate)
    assert sum(s.answered for s in measured.seconds) >= sum(p.figures.requests for p in held)
    assert any(s.memory_mib and s.memory_mib > 100 for s in measured.seconds)
    assert measured.conditions["version"] == "1.0"


def test_a_real_search_has_tables_and_a_page(searched: Path) -> None:
    measured = read_capacity(searched)
    with (searched / "probes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rate"]) for row in rows] == [p.rate for p in measured.probes]
    assert len((searched / "seconds.csv").read_text().splitlines()) == len(measured.seconds) + 1
    page = (searched / "report.html").read_text()
    assert page.count("<svg role=") == 4
    assert not re.findall(r"(?:src|srcset|href)=.(?!data:|#)", page)  # nothing is fetched
    assert "time ran out" in page


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    write_figures(made(400), tmp_path)
    assert read_capacity(tmp_path) == made(400)


def test_an_interrupted_search_keeps_what_it_has(
    server: Any, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(find, "say", interrupt)  # after the first probe
    with server.client() as client:
        capacity = find_capacity(client.server, client, photos, SHORT)
    assert [p.rate for p in capacity.probes] == [10]
    write_page(capacity, tmp_path / "report.html")
    assert "it was interrupted" in (tmp_path / "report.html").read_text()
    with pytest.raises(Interrupted, match="what was measured is in"):
        require_knee(capacity, tmp_path)


def test_what_goes_wrong_while_the_server_runs_is_not_the_servers_end(
    server: Any, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise InputError("the tokens can't be read")

    with server.client() as client:
        monkeypatch.setattr(find, "say", lambda _: monkeypatch.setattr(client.tokens, "get", fail))
        with pytest.raises(InputError, match="the tokens can't be read"):
            find_capacity(client.server, client, photos, SHORT)


def test_a_server_that_dies_leaves_what_was_measured(
    new_home: Callable[[str], Any],
    archive_path: Path,
    photos: Photos,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = new_home("dying")
    home.start()
    with home.client() as client:
        deploy(client, archive_path, workers=1)

        def kill(_: str) -> None:
            psutil.Process(lifecycle.require(home.path).pid).kill()

        monkeypatch.setattr(find, "say", kill)  # after the first probe
        capacity = find_capacity(client.server, client, photos, SHORT)
    assert capacity.ended is EndReason.SERVER_GONE
    assert [p.rate for p in capacity.probes] == [10]
    write_page(capacity, tmp_path / "report.html")
    assert "the server ended" in (tmp_path / "report.html").read_text()
    with pytest.raises(FlyobjError, match="the server ended after 1 probes") as caught:
        require_knee(capacity, tmp_path)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p99_ms": 0.0}, "--p99-ms 0 must be from 1 to 60000"),
        ({"p99_ms": float("nan")}, "--p99-ms nan must be"),
        ({"max_failures": -0.1}, "--max-failures -0.1 must be"),
        ({"first_rate": 0.0}, "--first-rate 0 must be"),
        ({"probe_s": 0.0}, "--probe-seconds 0 must be"),
        ({"max_minutes": float("inf")}, "--max-minutes inf must be"),
    ],
)
def test_settings_are_checked(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CapacitySettings(p99_ms=100), **change)


def test_a_wrong_token_is_said(server: Any, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.client() as client:
        monkeypatch.setattr(client.tokens, "get", lambda _: "wrong")
        with pytest.raises(InputError, match=r"isn't answered: .*[Tt]oken"):
            find_capacity(client.server, client, photos, SHORT)


def probe(number: int, rate: float, p99_ms: float, verdict: Verdict, long: bool = False) -> Probe:
    times = Latencies(p99_ms / 4, p99_ms / 2, p99_ms, (p99_ms * 0.95, p99_ms * 1.05))
    figures = ProbeFigures(
        1000, 0, {} if verdict is Verdict.HELD else {"status 503": 3}, times, 1.0, 0.2, verdict
    )
    cores = {"java": 0.2, "workers": 1.2, "load_test": 0.2, "others": 0.1}
    return Probe(number, rate, long, number * 10.0, 10.0, figures, 4.5, cores, {1: 50, 8: 100})


def made(rate: float, slower: float = 1.0, **changed: Any) -> Capacity:
    """A complete search with a knee, made up."""
    held, broke = Verdict.HELD, Verdict.BROKE
    probes = [
        probe(1, 20, 10 * slower, held),
        probe(2, 40, 12 * slower, held),
        *(probe(n, rate * 1.05, 300, broke) for n in (3, 4)),
        probe(5, rate, 80, held, long=True),
        *(probe(n, rate * 1.05, 300, broke, long=True) for n in (6, 7)),
    ]
    seconds = [
        Second(t, 40, 40, 0, 0.2, 1.2, 0.2, 0.1, 900.0 if t % 5 == 0 else None) for t in range(80)
    ]
    knee = knee_of([ProbeOutcome(Step(p.rate, p.long), p.figures.verdict) for p in probes])
    conditions = {"version": "1.0", "machine": "one"}
    return replace(
        Capacity(
            asdict(CapacitySettings(100)),
            conditions,
            EndReason.DONE,
            knee,
            probes,
            seconds,
            "2026-11-24",
        ),
        **changed,
    )


def test_noise_is_no_regression() -> None:
    c = compare(made(400), made(360, slower=1.3))
    assert (c.ratio, c.worse, c.worse_rates, c.regressed) == (0.9, False, [], False)
    require_no_regression(c)


def test_a_lower_knee_is_a_regression() -> None:
    c = compare(made(400), made(330))
    assert c.worse
    with pytest.raises(FlyobjError, match="the knee is 330, it was 400 requests/s"):
        require_no_regression(c)
    assert not compare(made(330), made(400)).regressed
    disturbed = replace(made(330).knee, limited_by="others")
    assert not compare(made(400), made(330, knee=disturbed)).regressed  # it may sustain more


def test_a_longer_p99_at_a_common_rate_is_a_regression() -> None:
    c = compare(made(400), made(400, slower=2))
    assert (c.worse, c.worse_rates) == (False, [20, 40])
    assert [(d.before_ms, d.after_ms, d.ratio) for d in c.differences[:2]] == [(10, 20, 2), (12, 24, 2)]
    with pytest.raises(FlyobjError, match="p99 is longer at 20, 40 requests/s"):
        require_no_regression(c)


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ((40, 38, 42), (80, 60, 100), True),
        ((40, 38, 62), (80, 60, 100), False),  # the intervals overlap
        ((40, 38, 42), (56, 50, 60), False),  # 1.4 times as long
        ((4, 3.8, 4.2), (8.8, 8, 9), False),  # 4.8 ms longer
    ],
)
def test_a_longer_p99_is_one_beyond_chance_by_half_and_by_5_ms(
    before: tuple[float, ...], after: tuple[float, ...], worse: bool
) -> None:
    first, second = (
        made(
            400, probes=[replace(p, figures=replace(p.figures, latencies=Latencies(1, 2, p99, (a, b))))]
        )
        for p99, a, b in (before, after)
        for p in [probe(1, 20, 10, Verdict.HELD)]
    )
    assert compare(first, second).worse_rates == ([20] if worse else [])


def test_no_answer_where_there_were_some_is_a_regression() -> None:
    held = probe(1, 20, 10, Verdict.HELD)
    silent = replace(held, figures=replace(held.figures, latencies=None, verdict=Verdict.BROKE))
    c = compare(made(400), made(400, probes=[silent]))
    assert [(d.rate, d.before_ms, d.after_ms, d.worse) for d in c.differences] == [(20, 10, None, True)]
    with pytest.raises(FlyobjError, match="p99 is longer at 20 requests/s"):
        require_no_regression(c)


def test_no_knee_after_one_is_a_regression(tmp_path: Path) -> None:
    nothing = made(400, probes=[], knee=knee_of([]))
    c = compare(made(400), nothing)
    assert (c.ratio, c.worse, c.differences) == (0.0, True, [])
    with pytest.raises(FlyobjError, match="the knee is none"):
        require_no_regression(c)
    assert not compare(nothing, made(400)).regressed
    write_comparison(c, made(400), nothing, tmp_path / "page.html")
    assert "It got worse" in (tmp_path / "page.html").read_text()
    assert "CPU per answer" not in (tmp_path / "page.html").read_text()  # of one knee alone


@pytest.mark.parametrize(("p99_ms", "seconds"), [(100, 10), (4999, 10), (6000, 12)])
def test_a_request_may_take_twice_the_limit_before_it_has_failed(p99_ms: float, seconds: float) -> None:
    assert CapacitySettings(p99_ms).timeout_s == seconds


def test_a_search_without_a_knee_is_no_success() -> None:
    out = Path("found")
    require_knee(made(400), out)
    with pytest.raises(FlyobjError, match=r"no rate held \(p99 100 ms, .*'found'; allow more"):
        require_knee(made(400, probes=[], knee=knee_of([])), out)
    with pytest.raises(FlyobjError, match="the server ended after 7 probes; what was measured is in"):
        require_knee(made(400, ended=EndReason.SERVER_GONE), out)
    with pytest.raises(Interrupted, match="interrupted; what was measured is in 'found'"):
        require_knee(made(400, ended=EndReason.INTERRUPTED), out)


def test_other_limits_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="p99_ms is 100 in the first and 200 in the second"):
        compare(made(400), made(400, settings=asdict(CapacitySettings(200))))


def pages() -> Iterator[tuple[Capacity, str]]:
    yield made(400), "Confirmed."
    broke = made(400).probes[2:4] * 2
    late = [replace(p, figures=replace(p.figures, verdict=Verdict.LATE)) for p in broke]
    outcomes = [ProbeOutcome(Step(p.rate), p.figures.verdict) for p in [*made(400).probes[:2], *late]]
    probes = [*made(400).probes[:2], *late]
    yield made(400, probes=probes, knee=knee_of(outcomes)), "The load generator is the bottleneck."
    yield made(400, probes=[], seconds=[], knee=knee_of([]), ended=EndReason.SERVER_GONE), "No rate held"


@pytest.mark.parametrize(("capacity", "said"), [*pages()])
def test_each_end_has_its_page(capacity: Capacity, said: str, tmp_path: Path) -> None:
    write_page(capacity, tmp_path / "report.html")
    assert said in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        (Verdict.LATE, "the load generator is the bottleneck, not the server: it sent too late"),
        (Verdict.DISTURBED, "other programs were in the way each time that a higher rate was tried"),
    ],
)
def test_what_is_not_the_servers_knee_is_said(
    inside: Callable[..., Any], server: Any, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, why: str
) -> None:
    broke = [replace(p, figures=replace(p.figures, verdict=verdict)) for p in made(40).probes[2:4] * 2]
    probes = [*made(40).probes[:2], *broke]
    knee = knee_of([ProbeOutcome(Step(p.rate), p.figures.verdict) for p in probes])
    found = made(40, probes=probes, knee=knee, ended=EndReason.OUT_OF_TIME)
    monkeypatch.setattr(find, "find_capacity", lambda *_: found)
    said = inside("loadtest", "--find-capacity", "--out", "out", "--home", server.path).stdout
    assert said.splitlines() == [
        "knee at least 40 requests/s: p99 12 of 100 ms allowed, batches of 5.7",
        "4.5 CPU-ms an answer, 1.2 core-hours for a million",
        why,
        "not confirmed by longer runs: time ran out",
        "look at out/report.html",
    ]


def test_failures_are_in_the_chart(tmp_path: Path) -> None:
    calm = made(400)
    stormy = replace(calm, seconds=[replace(calm.seconds[0], failed=3), *calm.seconds[1:]])
    for capacity, shown in ((calm, False), (stormy, True)):
        write_page(capacity, tmp_path / "page.html")
        assert ("failed</text>" in (tmp_path / "page.html").read_text()) is shown


def test_two_on_one_page(tmp_path: Path) -> None:
    before, after = made(400), made(300, slower=2, conditions={"version": "2.0", "machine": "one"})
    comparison = compare(before, after)
    write_comparison(comparison, before, after, tmp_path / "new" / "page.html")
    page = (tmp_path / "new" / "page.html").read_text()
    assert "It got worse" in page
    assert page.count(">worse<") == 2
    assert "What differed" in page
    write_comparison(compare(before, before), before, before, tmp_path / "same.html")
    assert "No regression" in (tmp_path / "same.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (None, "holds no capacity.json"),
        (lambda d: d | {"more": 1}, "unknown keys"),
        (lambda d: d | {"ended": "somehow"}, "isn't of the type|isn't as it was written"),
        (lambda d: d | {"probes": [{}]}, "isn't of the type|isn't as it was written"),
    ],
)
def test_a_folder_without_a_result_is_said(
    spoil: Callable[[dict[str, Any]], object] | None, message: str, tmp_path: Path
) -> None:
    if spoil:
        write_figures(made(400), tmp_path)
        path = tmp_path / "capacity.json"
        path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=message):
        read_capacity(tmp_path)


def test_late_is_said_with_how_late() -> None:
    late = probe(1, 20, 300, Verdict.LATE)
    late = replace(late, figures=replace(late.figures, faults={}, lag_p99_ms=12.4))
    assert str(late) == "     20/s generator late, p50 75, p99 300 ms, sent 12 ms late"


def test_what_disturbed_means_is_said_where_it_stands(tmp_path: Path) -> None:
    disturbed = probe(1, 20, 300, Verdict.DISTURBED)
    assert "disturbed, p50 75, p99 300 ms" in str(disturbed)
    assert "as other programs used 0.1 cores; tried again" in str(disturbed)
    meaning = "the rate broke while other programs used more than 15 % of the machine"
    for probes, said in (((disturbed,), True), ((), False)):
        capacity = made(60)
        write_page(replace(capacity, probes=[*capacity.probes, *probes]), tmp_path / "page.html")
        assert (meaning in (tmp_path / "page.html").read_text()) is said
