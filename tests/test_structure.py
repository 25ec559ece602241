"""Which room may import what, read from the imports themselves."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("model", "report", "training", "handler", "serving", "loadtest", "benchmarks", "cli", "deploy")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
FITTING = ("lightning_fabric", "albumentations", "sklearn", "matplotlib")


def imports(path: Path) -> set[str]:
    """Name the top-level packages that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0] if node.level == 0 else path.parent.name)
    return names


def modules(path: Path) -> set[str]:
    """Name the modules that a file imports, and each name it imports as if it were one."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def files_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


# serving/archive/isolated_worker.py stands in for TorchServe in a process of its own, so may import ts
@pytest.mark.parametrize(
    ("room", "own", "never"),
    [
        ("model", {"model"}, {"ts", "torchserve", "httpx", *FITTING}),
        ("report", {"model", "report"}, {"ts", "httpx", "torch"}),
        ("training", {"model", "report", "training"}, {"ts", "httpx"}),
        ("handler", {"model", "handler"}, {"httpx", *FITTING}),
        ("serving", {"model", "report", "serving"}, set(FITTING)),
        (
            "loadtest",
            {"model", "report", "serving", "loadtest"},
            {"torch", "ts", *{*FITTING} - {"matplotlib"}},
        ),
        ("benchmarks", set(ROOMS), set()),
        ("cli", {*ROOMS} - {"benchmarks"}, set()),
        ("deploy", {"model", "deploy"}, {"torch", "torchvision", "ts", "httpx", *FITTING}),
    ],
)
def test_directions(room: str, own: set[str], never: set[str]) -> None:
    files = files_of(room)
    assert files
    for path in files:
        found = imports(path)
        assert not found & (({*ROOMS, "tests"} - own) | never), path.relative_to(ROOT)


@pytest.mark.parametrize(("package", "only"), [("matplotlib", "charts.py"), ("jinja2", "html.py")])
def test_what_people_look_at_is_made_by_one_kit(package: str, only: str) -> None:
    using = {path for room in ROOMS for path in files_of(room) if package in imports(path)}
    assert using == {ROOT / "report" / only}


@pytest.mark.parametrize(
    ("wing", "below"),
    [
        ("archive", set()),
        ("server", set()),
        ("rollout", {"archive", "server"}),
        ("fleet", {"archive", "server", "rollout"}),
        ("page", {"archive", "server", "rollout"}),
        ("batch", {"archive", "server", "rollout"}),
    ],
)
def test_directions_inside_serving(wing: str, below: set[str]) -> None:
    wings = {"archive", "server", "rollout", "fleet", "page", "batch"}
    for path in files_of(f"serving/{wing}"):
        found = {name.split(".")[1] for name in modules(path) if name.startswith("serving.")}
        assert not found & (wings - below - {wing}), path.relative_to(ROOT)


def test_serving_knows_torchserve_only_where_it_stands_in_for_it() -> None:
    knowing = {path.name for path in files_of("serving") if "ts" in imports(path)}
    assert knowing == {"isolated_worker.py"}


# no PyTorch, no sockets
PURE = {"model.errors", "model.formats", "model.layout", "model.photo_files", "model.text"}
PURE |= {"serving.names"}


@pytest.mark.parametrize("entry", ["loadtest/locustfile.py", "loadtest/capacity/open_loop.py"])
def test_what_sends_the_load_knows_the_server_by_http_alone(entry: str) -> None:
    """Locust patches what it imports, and sockets of our own client would be among that."""
    todo, seen = [ROOT / entry], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        names = modules(path)
        found = {ROOT / f"{name.replace('.', '/')}.py" for name in names}
        todo += [path for path in found - seen if path.is_file()]
        others = {name for name in names if name.split(".")[0] in {*ROOMS} - {"loadtest"}}
        assert {name for name in others if name.rpartition(".")[0] not in PURE} <= PURE, path
    assert len(seen) > 2


def test_a_probe_does_not_wait_for_pytorch() -> None:
    """It is run every few seconds, on cores that the model needs."""
    script = (
        "import sys, serving.rollout.health, serving.rollout.reconcile; print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "False\n"


def test_the_handlers_entry_point_has_one_class() -> None:
    """TorchServe refuses a handler file with more."""
    tree = ast.parse((ROOT / "handler" / "flyobj_handler.py").read_text())
    assert [n.name for n in tree.body if isinstance(n, ast.ClassDef)] == ["FlyingObjectsHandler"]


@pytest.mark.parametrize("room", ROOMS)
def test_modules_stay_small(room: str) -> None:
    for path in files_of(room):
        assert len(path.read_text().splitlines()) <= 300, path.relative_to(ROOT)


def test_everything_is_printed_in_one_way() -> None:
    """Rich takes names for markup, and hands on what a terminal obeys."""
    rooms = ("model", "report", "training", "handler", "serving", "loadtest", "cli")
    with_rich = {path for room in rooms for path in files_of(room) if "rich" in imports(path)}
    assert {path.name for path in with_rich} == {"progress.py", "terminal.py"}


def test_hints_at_a_server_name_its_home() -> None:
    """`serving.server.homes.command` writes them; the two that are left are for another machine."""
    hint = re.compile(r"`flyobj (models|serve|stop|status|token|page|predict|loadtest)\b")
    saying = set()
    for path in files_of("serving"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, DOCUMENTED)}
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)} - docs
        if any(isinstance(text, str) and hint.search(text) for text in texts):
            saying.add(path.name)
    assert saying == {"archive_variant.py", "quiesce.py"}
