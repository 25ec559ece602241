"""The page in a real Chromium, from a file: decisions by key and click, remembered, and handed out."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.data.decisions import HEADER, Suspect, read_suspects
from training.data.manifest import Row
from training.suspects.collect import Photos
from training.suspects.page import Shown, write_page

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

COUNT = 300  # suspects, more than are drawn at first
ODD = 'train/keep/=1,"q" <b>.jpg'  # a class that is called like a decision, a name like a formula


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, jpeg: Callable[..., bytes]) -> Path:
    root = tmp_path_factory.mktemp("suspects")
    paths = [ODD, *(f"{'test' if i % 10 == 0 else 'train'}/b/{i:03}.jpg" for i in range(1, COUNT))]
    rows = []
    for number, name in enumerate(paths):
        split, label, file = name.split("/", 2)
        (root / "data" / split / label).mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(jpeg(number))
        rows.append(Row(name, label, split, file=file))
    photos = Photos(root / "data", ("b", "c", "keep"), rows, np.empty((COUNT, 0), np.float32), "net")
    lines = [
        Suspect(r.path, r.class_name, "c", str(COUNT - i), "looks like c" if i < 280 else "", "")
        for i, r in enumerate(rows)
    ]
    lines[3] = Suspect(*[*vars(lines[3]).values()][:-1], "drop")
    shown = [Shown(i, [i + 1, i + 2], [i + 3]) for i in range(100)]
    write_page(root, photos, lines, shown)
    return root


@pytest.fixture(scope="module")
def context(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator["BrowserContext"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        profile = tmp_path_factory.mktemp("profile")
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=chromium, args=["--no-sandbox"], accept_downloads=True
        )
        yield context
        context.close()


def opened(context: "BrowserContext", folder: Path) -> "Page":
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto((folder / "suspects.html").as_uri())
    return page


def saved(page: "Page", target: Path) -> dict[str, Suspect]:
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(target)
    return {line.path: line for line in read_suspects(target)}


def test_decisions(context: "BrowserContext", folder: Path, tmp_path: Path) -> None:
    page = opened(context, folder)
    assert page.inner_text("#count") == "1 of 253 suspects decided"  # one by the table
    page.keyboard.press("r")  # and on to the next
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("3")  # the third class
    page.locator(".row").nth(4).locator("button", has_text="drop").click()
    page.locator(".row").nth(5).locator("select").select_option("keep")
    page.locator(".row").nth(6).locator("button", has_text="drop").click()
    page.locator(".row").nth(6).locator("button", has_text="drop").click()  # taken back
    page.close()
    page = opened(context, folder)  # the browser remembers
    assert page.inner_text("#count") == "5 of 253 suspects decided"
    found = saved(page, tmp_path / "suspects.csv")
    with (tmp_path / "suspects.csv").open(newline="") as file:
        assert next(csv.reader(file)) == [*HEADER]
    assert len(found) == COUNT
    decided = {path: (s.decision, s.suggested) for path, s in found.items() if s.decision}
    assert decided == {
        ODD: ("relabel", "c"),
        "train/b/001.jpg": ("keep", "c"),
        "train/b/003.jpg": ("relabel", "keep"),
        "train/b/004.jpg": ("drop", "c"),
        "train/b/005.jpg": ("relabel", "keep"),
    }
    page.close()


def test_lists_of_thousands_come_bit_by_bit(context: "BrowserContext", folder: Path) -> None:
    page = opened(context, folder)
    drawn = page.locator(".row").count()
    assert 0 < drawn < 253
    for _ in range(260):
        page.keyboard.press("ArrowDown")
    assert page.locator(".row").count() == 253
    assert page.locator(".row.current img").first.evaluate("image => image.src").endswith("279.jpg")
    assert page.locator(".row.current").is_visible()
    page.wait_for_function("document.querySelector('.row.current img').naturalWidth > 0")
    page.locator("[role=tab]", has_text="test").click()  # apart
    assert page.locator(".row").count() == 27
    page.check("#all")
    page.locator("[role=tab]", has_text="train").click()
    assert page.inner_text("#tabs").split() == ["train:", "253", "test:", "27"]
    page.check("#open")
    assert "train/b/003.jpg" not in page.inner_text("#rows")
    page.close()


def test_thumbnails_are_beside_the_page(folder: Path) -> None:
    assert len(list((folder / "thumbnails").glob("*.jpg"))) == 103  # those shown and their neighbours
