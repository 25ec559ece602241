"""Names that a terminal, a shell, a browser and a spreadsheet would obey, through all commands."""

import csv
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Complaint = Callable[[subprocess.CompletedProcess[str]], str]

CLASSES = (
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(2)>',
    "[bold]",
    "$x^2$",
    "=1+1",
    "e\x1b[31m\a",
)
SHOWN = (*CLASSES[:-1], r"e\x1b[31m\x07")
RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def pile(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Ten photos of each class, one with the class's name in its own, and a broken link."""
    for number, name in enumerate(CLASSES):
        folder = tmp_path / "pile" / name
        folder.mkdir(parents=True)
        for n in range(10):
            (folder / f"{name} {n}.jpg").write_bytes(jpeg(100 * number + n))
    (tmp_path / "pile" / "[bold]" / "gone\x1b[2J.jpg").symlink_to("nowhere")
    return tmp_path / "pile"


def test_names_are_names_everywhere(inside: FlyObj, pile: Path, tmp_path: Path, chromium: str) -> None:
    data, run = "da[ta]\n", "run [b]\x1b[31m;$(touch pwned)"
    options = ("--weights", "none", "--size", 32, "--epochs", 1, "--workers", 0, "--batch-size", 8)
    prepared = inside(
        "data", "prepare", pile, "--out", data, "--no-prune", "--keep-near", "--workers", 1
    )
    trained = inside("train", data, "--out", run, *options)
    evaluated = inside("evaluate", run)
    predicted = inside("predict", f"{data}/test", "--run", run)
    as_json = inside("evaluate", run, "--data", data, "--json")
    inside("predict", f"{data}/test", "--run", run, "--csv", "p.csv")
    inside("data", "preview", data, "--out", "preview.png")
    for said in (prepared, trained, evaluated, predicted, as_json):
        assert not RAW.search(said.stdout + said.stderr)
    for said in (prepared, evaluated):
        assert all(name in said.stdout for name in SHOWN)
    assert "files that can't be opened: 1 broken link" in prepared.stdout
    assert r"next: flyobj evaluate $'run [b]\x1b[31m;$(touch pwned)'" in trained.stdout
    assert r"next: flyobj train $'da[ta]\x0a'" in prepared.stdout
    assert ",'=1+1," in (tmp_path / data / "manifest.csv").read_text(encoding="utf-8")
    for path in (tmp_path / data / "manifest.csv", tmp_path / "p.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
    pages = [tmp_path / data / "report.html", tmp_path / run / "evaluation" / "report.html"]
    card = pages[1].with_name("MODEL_CARD.md").read_text()
    assert r"\<img src=x onerror=alert(1)\>" in card
    assert not re.search(r"(?<!\\)<", card)
    assert "\x1b" not in card
    require_no_scripts(chromium, pages)


def require_no_scripts(chromium: str, pages: list[Path]) -> None:
    """Open the pages in a browser: no dialog, no error, nothing fetched, no element out of a name."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        happened: list[str] = []
        for path in pages:
            page = browser.new_page()
            page.on("dialog", lambda dialog: happened.append(dialog.message) or dialog.dismiss())
            page.on("pageerror", lambda error: happened.append(str(error)))
            page.on("request", lambda request: happened.append(request.url.partition(",")[0][:99]))
            page.goto(path.as_uri())
            page.wait_for_timeout(300)
            assert {url.partition(":")[0] for url in happened} <= {"file", "data"}, happened
            assert page.locator("[onerror], [onload], script").count() == 0
            text = page.locator("main").inner_text()
            assert all(name in text for name in CLASSES[:5])
        browser.close()


def test_errors_show_brackets_and_obey_nothing(inside: FlyObj, complaint: Complaint) -> None:
    name = "/tmp/[/b]\x1b[31m\x9b2J\u202e"
    shown = r"'/tmp/[/b]\x1b[31m\x9b2J\u202e'"
    for command in (("data", "prepare", name, "--out", "o"), ("evaluate", name, "--data", "d")):
        assert shown in complaint(inside(*command, code=2))
    for command in ((name,), ("data", "report", "one", name), ("train", f"--{name}")):
        said = inside(*command, code=2)
        assert not RAW.search(said.stderr)
        assert "[/b]" in said.stderr
