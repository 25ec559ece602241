"""Every file of ours that a command reads, damaged in every way: one message with name and remedy."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import cli
from loadtest.capacity.compare import compare
from loadtest.capacity.records import read_capacity
from loadtest.tokens import KeyFile
from model.bundle import read_bundle
from model.errors import FlyobjError, InputError
from report.charts import Chart, Figure
from serving.archive.model_config import read_settings
from serving.fleet.balancer import Balancer
from serving.fleet.inventory import read_inventory
from serving.rollout.deployment import read_deployment
from serving.rollout.history import read_history as read_operations
from serving.server import lifecycle
from serving.server.connection import Connection
from serving.server.tokens import Tokens
from training.data.manifest import read_manifest
from training.data.prepare import charts
from training.data.prepare.pipeline import report
from training.data.prepare.shard import join_shards
from training.evaluation.history import read_history
from training.fit.plan import read_plan

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that isn't there yet is waited for; here it never comes."""
    monkeypatch.setattr("serving.server.tokens.NEW_TOKEN_S", 0)


@pytest.fixture(scope="module", autouse=True)
def manifest_is_drawn_once() -> Iterator[None]:
    """Most of a report's charts are of the manifest, whatever its summary says."""

    def once(draw: Callable[..., Figure]) -> Callable[..., Figure]:
        figures: list[Figure] = []

        def first(*args: Any) -> Figure:
            if not figures:
                figures.append(draw(*args))
            return figures[0]

        return first

    with pytest.MonkeyPatch.context() as patch:
        for name in ("extensions", "shapes", "file_sizes", "sides"):
            patch.setattr(charts, name, once(getattr(charts, name)))
        patch.setattr(Chart, "svg", cache(Chart.svg))
        yield


DEEP = 100_000
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "list": lambda _: b"[]",
    "null": lambda _: b"null",
    "number": lambda _: b"7",
    "text": lambda _: b'"words"',
    "deep list": lambda _: b"[" * DEEP,
    "deep object": lambda _: b'{"a":' * DEEP,
    "not UTF-8": lambda content: b"\xff\xfe" + content,
    "zeros": lambda content: bytes(len(content)),
    "folder": lambda _: None,
    "unreadable": lambda _: None,  # as root may read what nobody may, a file that fails when it is read
}
WRONG: list[Any] = [None, [], {}, "x", -1, 7, 1e999, 10**400, True, [[]], {"a": {}}, ["x"]]
NOT_TEXT = {"not UTF-8", "folder", "unreadable"}
NO_FILE = {"folder", "unreadable"}


@dataclass(frozen=True)
class Case:
    """A file, a command that reads it, and the function that does so for it.

    Attributes:
        path: of the file, in the folder of a product's files.
        command: its words; {} stands for that folder. None where a server would have to run.
        read: reads the file.
        damages: that keep the file from being read; others may be what it is allowed to hold.
    """

    path: str
    command: str | None
    read: Callable[[Path], object]
    damages: frozenset[str] = frozenset(DAMAGES)


def read_tokens(old: Path) -> object:
    with Connection(timeout_s=1) as connection:
        tokens = Tokens(old / "key_file.json", "http://127.0.0.1:9", connection)
        return tokens.get("inference"), tokens.seconds_left("management")


def read_key_file(old: Path) -> object:
    try:
        return KeyFile(old / "key_file.json").token()
    except ValueError as error:  # which Locust prints
        raise InputError(str(error)) from error


def read_compared(old: Path) -> object:
    pair = [read_capacity(old / name) for name in ("capacity", "other")]
    with suppress(InputError):  # they may have other limits
        compare(*pair)
    return pair


def read_servers(old: Path) -> object:
    return read_inventory(old / "fleet.json", old / "store", drained=False)


def read_balancer(old: Path) -> object:
    return Balancer(old / "proxy", ["127.0.0.1:1", "127.0.0.1:2"], 1)


EVALUATE = "evaluate {}/run --data {}/photos"
CASES = [
    Case("stopped/checkpoints/last.ckpt", "train --resume {}/stopped", lambda _: None),
    Case("weights.pth", "train {}/photos --out {}/new --weights {}/weights.pth", lambda _: None),
    Case("stopped/settings.json", "train --resume {}/stopped", lambda old: read_plan(old / "stopped")),
    Case("run/bundle/model.json", EVALUATE, lambda old: read_bundle(old / "run" / "bundle")),
    Case("run/bundle/golden/golden.json", EVALUATE, lambda old: read_bundle(old / "run" / "bundle")),
    Case("run/bundle/weights.safetensors", EVALUATE, lambda _: None),
    Case("run/run.json", "calibrate {}/run", lambda old: read_history(old / "run")),
    Case("run/run.json", EVALUATE, lambda old: read_history(old / "run")),
    Case("run/logs/csv/head/metrics.csv", EVALUATE, lambda _: None, frozenset(NOT_TEXT)),
    Case("prepared/summary.json", "data report {}/prepared", lambda old: report(old / "prepared")),
    Case(
        "prepared/manifest.csv",
        "data report {}/prepared",
        lambda old: read_manifest(old / "prepared" / "manifest.csv"),
    ),
    Case(
        "shard/shard.json", "data merge {}/shard --out {}/new", lambda old: join_shards([old / "shard"])
    ),
    Case(
        "capacity/capacity.json", "loadtest --compare {}/capacity {}/other --out {}/new", read_compared
    ),
    Case("home/server.json", "status --home {}/home", lambda old: lifecycle.find(old / "home")),
    Case("home/server.json", "status --ready --home {}/home", lambda _: None),
    Case("fleet.json", "models diff --servers {}/fleet.json", read_servers),
    Case(
        "model-config.yaml",
        "tune {}/store/flying_objects-1.0.mar --config {}/model-config.yaml --dry-run",
        lambda old: read_settings(old / "model-config.yaml"),
        frozenset(DAMAGES) - {"cut"},  # half of it is a file of fewer settings
    ),
    Case(
        "config.properties",
        "serve --config {}/config.properties --home {}/new",
        lambda _: None,
        frozenset(NOT_TEXT),
    ),
    Case("store/flying_objects-1.0.mar", "push {}/store/flying_objects-1.0.mar s3://b/", lambda _: None),
    Case(
        "store/flying_objects-1.0.mar",
        "evaluate {}/store/flying_objects-1.0.mar --data {}/photos",
        lambda _: None,
        frozenset(DAMAGES) - {"not UTF-8"},  # what is before a ZIP doesn't matter
    ),
    Case("store/deployment.json", None, lambda old: read_deployment(old / "store")),
    Case(
        "store/deployment-history.jsonl",
        None,
        lambda old: read_operations(old / "store"),
        frozenset(NOT_TEXT),
    ),
    Case("key_file.json", None, read_tokens),
    Case("key_file.json", None, read_key_file),
    Case("proxy/servers.conf", None, read_balancer),
    Case("proxy/nginx.conf", "canary start 1.0 --proxy {}/proxy", lambda _: None, frozenset()),
    Case("proxy/logs/canary.log", "canary check --proxy {}/proxy", lambda _: None, frozenset(NO_FILE)),
]


def damage(path: Path, kind: str, content: bytes) -> None:
    """Put a damaged file in the place of `path`."""
    path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
    changed = DAMAGES[kind](content)
    if kind == "folder":
        path.mkdir()
    elif kind == "unreadable":
        path.symlink_to("/proc/self/mem")
    else:
        assert changed is not None
        path.write_bytes(changed)


@pytest.fixture
def flyobj(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command in this process; returns its exit code and what it said to people."""

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["flyobj", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        code = end.value.code or 0
        assert isinstance(code, int)
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path} {case.command or 'read'}"[:60])
def test_a_damaged_file_is_named(
    case: Case, old: Path, flyobj: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old)
    if case.path.startswith("shard/"):
        assert flyobj(
            "data", "prepare", str(old / "photos"), "--out", str(old / "shard"), "--shard", "1/1"
        )
    path = old / case.path
    content = path.read_bytes()
    for kind in DAMAGES:
        if kind not in case.damages:
            continue
        damage(path, kind, content)
        if case.command:
            code, said = flyobj(*(word.replace("{}", str(old)) for word in case.command.split()))
            expected = 1 if "--ready" in case.command else 2
            assert code == expected, f"{kind}: {code} {said}"
            assert said.count("error: ") == 1, f"{kind}: {said}"
        else:
            with pytest.raises(InputError) as raised:
                case.read(old)
            said = str(raised.value)
        assert path.name in said, f"{kind}: {said}"
        assert "; " in said, f"{kind} has no remedy: {said}"
        assert not (old / "new").exists(), kind


def nodes(document: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name the place of everything in a document, but for later entries of long lists."""
    yield place
    entries = document.items() if isinstance(document, dict) else []
    entries = list(enumerate(document))[:2] if isinstance(document, list) else entries
    for key, value in entries:
        yield from nodes(value, (*place, key))


def changed(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return copy


JSON_CASES = {case.path: case for case in reversed(CASES) if case.path.endswith(".json")}


@pytest.mark.parametrize("case", JSON_CASES.values(), ids=list(JSON_CASES))
def test_a_value_of_a_wrong_type_is_named(
    case: Case, old: Path, flyobj: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value of each document, in place of which there is anything else; some may be allowed."""
    monkeypatch.chdir(old)
    if case.path.startswith("shard/"):
        flyobj(*f"data prepare {old}/photos --out {old}/shard --shard 1/1".split())
    path = old / case.path
    content = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + content)  # as some editors begin a file
    case.read(old)
    document, said = json.loads(content), list[tuple[str, str]]()
    for place in nodes(document):
        for value in WRONG:
            path.write_text(json.dumps(changed(document, place, value)))
            try:
                case.read(old)
            except InputError as error:
                said.append((f"{place} {value!r:.50}", str(error)))
            except FlyobjError:
                pass  # a token that ran out, say
            except Exception as error:
                raise AssertionError(f"{place} {value!r:.50}") from error
    assert len(said) > 20
    assert [one for one in said if path.name not in one[1]] == []
