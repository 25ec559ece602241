"""The page in a real Chromium, in front of a real TorchServe.

One browser for all of it. `flyobj page` runs in a process of its own, as a user would start it.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from report.html import percent

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Response

    from tests.conftest import Home, MakeHome

FLAGS = [
    "--no-sandbox",  # the tests may run as root
    "--use-fake-device-for-media-stream",  # a camera that films a clock
    "--use-fake-ui-for-media-stream",
]
PERMISSIONS = ["camera", "clipboard-read", "clipboard-write"]
WAIT_MS = 20_000


@contextmanager
def page_of(home: Path, port: int, cwd: Path) -> Iterator[str]:
    """Run `flyobj page` until the block ends; yields its address."""
    command = [str(Path(sys.executable).with_name("flyobj")), "page", "--home", str(home)]
    command += ["--port", str(port), "--json"]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        try:
            lines = iter(process.stdout.readline, b"")
            document = b""
            for line in lines:
                document += line
                if line.startswith(b"}"):
                    break
            assert document, process.stderr.read().decode()
            yield str(json.loads(document)["url"])
        finally:
            process.terminate()  # not SIGINT, which whoever runs the tests in the background ignores
            try:
                words = process.communicate(timeout=30)[1].decode()
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0, words
    assert "Traceback" not in words


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def two_versions(
    server: "Home", repack: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Home"]:
    """The shared server with a version 2.0 too, that isn't sure enough of anything to name it."""
    from serving.archive.build import read_archive
    from serving.rollout.deployment import DeployedVersion
    from serving.rollout.readiness import bring_up

    def unsure(text: str) -> str:
        document = json.loads(text)
        document["calibration"]["reject_below"] = 1.0
        return json.dumps(document)

    made = repack(
        tmp_path_factory.mktemp("unsure") / "flying_objects-2.0.mar",
        {
            "MAR-INF/MANIFEST.json": lambda text: text.replace('"1.0"', '"2.0"', 1),
            "bundle/model.json": unsure,
        },
    )
    archive = read_archive(Path(shutil.copy(made, server.store)))
    with server.client() as client:
        try:
            bring_up(client, archive, DeployedVersion(archive.path.name, archive.sha256, workers=1))
            yield server
        finally:
            client.unregister("2.0")
            archive.path.unlink()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the page is started."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def url(two_versions: "Home", new_home: "MakeHome", place: Path) -> Iterator[str]:
    with page_of(two_versions.path, new_home("page").port, place) as url:
        yield url
    assert list(place.iterdir()) == []


@pytest.fixture
def context(browser: "Browser") -> Iterator["BrowserContext"]:
    context = browser.new_context(permissions=PERMISSIONS)
    context.set_default_timeout(WAIT_MS)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    hosts = {urlsplit(address).hostname for address in asked if address.startswith("http")}
    assert hosts == {"127.0.0.1"}


@pytest.fixture
def page(context: "BrowserContext", url: str) -> "Page":
    page = context.new_page()
    open_(page, url)
    return page


def open_(page: "Page", url: str) -> None:
    """Open the page and wait until it knows the versions."""
    page.goto(url)
    page.get_by_role("radio", name="1.0 (default)").wait_for()


def give(page: "Page", content: bytes, name: str = "photo.jpg", kind: str = "image/jpeg") -> None:
    """Choose a file as the photo."""
    file = {"name": name, "mimeType": kind, "buffer": content}
    page.locator("#photo input[type=file]").set_input_files([file])


def expect_verdict(page: "Page", *words: str) -> str:
    """Wait until the verdict has these words; returns all of it."""
    from playwright.sync_api import expect

    verdict = page.locator("#verdict")
    for word in words:
        expect(verdict).to_contain_text(word, timeout=WAIT_MS)
    return verdict.inner_text()


@pytest.fixture
def right(two_versions: "Home", photos: list[bytes]) -> dict[str, Any]:
    """What the server says of the first photo."""
    with two_versions.client() as client:
        return client.predict(photos[0])


def test_a_photo_gets_its_classes_times_and_where_the_network_looked(
    page: "Page", photos: list[bytes], right: dict[str, Any]
) -> None:
    give(page, photos[0])
    expect_verdict(page, right["predicted"], percent(right["confidence"]))
    page.locator("#cards li").first.wait_for()
    rows = [row.locator("span").all_inner_texts() for row in page.locator("#cards li").all()]
    ranked = sorted(right["probabilities"].items(), key=lambda item: -item[1])
    assert rows == [[name, percent(p)] for name, p in ranked]
    bars = page.locator("#cards li > i > i")
    widths = bars.evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert widths == sorted(widths, reverse=True)
    times = page.locator("#cards .times").inner_text()
    found = re.search(r"(\d+) ms\s+([\d.]+) ms in the server's worker: .*\s+([\d.]+) ms on", times)
    assert found, times
    assert float(found[2]) + float(found[3]) == pytest.approx(float(found[1]), abs=0.61)
    looked = page.get_by_alt_text("The photo under a heat map: red where version 1.0 looked")
    looked.wait_for()
    assert looked.evaluate("image => image.naturalWidth") > 0
    shown, heat = (f.get_attribute("src") for f in page.locator("#pictures img").all())
    assert shown != heat


def test_two_versions_side_by_side_disagree(
    page: "Page", photos: list[bytes], right: dict[str, Any]
) -> None:
    from playwright.sync_api import expect

    give(page, photos[0])
    expect_verdict(page, right["predicted"])
    page.locator("#beside").get_by_role("radio", name="2.0").check()
    said = expect_verdict(page, "The versions disagree", "1.0 says", "2.0 says")
    assert "unknown" in said
    assert "no class fits well enough" in said
    expect(page.get_by_role("region", name=re.compile("Version [12].0"))).to_have_count(2)
    page.get_by_alt_text("red where version 2.0 looked").wait_for()
    expect(page.locator("#pictures img")).to_have_count(3)
    page.locator("#version").get_by_role("radio", name="2.0").check()
    page.locator("#beside").get_by_role("radio", name="none").check()
    expect(page.locator("#verdict .verdict")).to_have_count(1)
    expect(page.locator("#verdict .verdict")).to_have_text(re.compile(r"^\s*unknown"))
    expect(page.locator("#cards section")).to_have_count(1)


def test_a_photo_can_be_dropped(page: "Page", photos: list[bytes], right: dict[str, Any]) -> None:
    transfer = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "a.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        list(photos[0]),
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.locator("#photo input[type=file]").dispatch_event(kind, {"dataTransfer": transfer})
    expect_verdict(page, right["predicted"], percent(right["confidence"]))


def test_a_photo_can_be_pasted(page: "Page", photos: list[bytes]) -> None:
    page.evaluate(
        """async bytes => {
            const photo = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
            const canvas = new OffscreenCanvas(photo.width, photo.height);
            canvas.getContext("2d").drawImage(photo, 0, 0);
            const png = await canvas.convertToBlob({ type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
        }""",
        list(photos[0]),
    )
    page.keyboard.press("Control+v")
    expect_verdict(page, "%")


def test_a_photo_can_be_taken(page: "Page") -> None:
    page.get_by_label("Capture from camera").click()
    page.locator("#photo").get_by_role("button", name=re.compile("access|webcam", re.I)).first.click()
    page.wait_for_function("() => document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    expect_verdict(page, "%")


def test_an_example_is_the_archives_golden_photo(page: "Page", archive_path: Path) -> None:
    from serving.archive.build import read_archive

    golden = read_archive(archive_path).golden
    examples = page.locator("#examples button.thumbnail-item")
    examples.first.wait_for()
    assert examples.count() == len(golden)
    best = max(golden[0].probabilities, key=golden[0].probabilities.__getitem__)
    for _ in range(2):  # the same one twice
        page.get_by_role("button", name=f"Example: {golden[0].label}").first.click()
        expect_verdict(page, best, percent(golden[0].probabilities[best]))
        page.get_by_label("Remove Image").click()
        page.locator("#verdict b").wait_for(state="detached")


def test_a_bad_photo_is_told_in_words_and_the_next_one_is_answered(
    page: "Page", photos: list[bytes], right: dict[str, Any]
) -> None:
    """It isn't the browser that decides: HEIC, for one, has no type that it knows."""
    give(page, b"these are words", "notes.txt", "text/plain")
    expect_verdict(page, "This photo can't be answered:", "HTTP 415")
    assert page.locator("#cards li").count() == 0
    give(page, photos[0], "photo.heic", "application/octet-stream")
    expect_verdict(page, right["predicted"])


def test_several_photos_are_a_table_and_a_csv(
    page: "Page", photos: list[bytes], right: dict[str, Any], tmp_path: Path
) -> None:
    page.locator("#beside").get_by_role("radio", name="2.0").check()
    page.get_by_role("tab", name="Several photos").click()
    contents = {"a.jpg": photos[0], "b.jpg": photos[1], "bad.jpg": b"words"}
    files = [{"name": n, "mimeType": "image/jpeg", "buffer": c} for n, c in contents.items()]
    page.locator("#photos input[type=file]").set_input_files(files)
    summary = page.locator("#answers .summary")
    summary.wait_for()
    assert summary.inner_text().startswith("3 photos, the versions disagree on 2.")
    rows = [row.inner_text() for row in page.locator("#answers tbody tr").all()]
    assert right["predicted"] in rows[0]
    assert "unknown" in rows[0]
    assert rows[2].count("HTTP 415") == 2
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as CSV").click()
    assert download.value.suggested_filename == "answers.csv"
    download.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(x["photo"], x["version"]) for x in lines[:2]] == [("a.jpg", "1.0"), ("a.jpg", "2.0")]
    assert float(lines[0][right["predicted"]]) == pytest.approx(right["confidence"], abs=1e-4)
    assert len(lines) == 6


def test_the_browser_gets_no_token_and_no_file_of_the_servers(
    context: "BrowserContext", url: str, two_versions: "Home", photos: list[bytes]
) -> None:
    got: list[Response] = []
    context.on("response", lambda response: got.append(response))
    page = context.new_page()
    open_(page, url)
    give(page, photos[0])
    expect_verdict(page, "%")
    page.get_by_alt_text("where version 1.0 looked").wait_for()
    keys = json.loads((two_versions.path / "key_file.json").read_text())
    secrets = [entry["key"] for entry in keys.values()]
    bodies = [
        r.text()
        for r in got
        if "text/event-stream" not in r.headers.get("content-type", "")
        and r.ok
        and r.request.resource_type in ("document", "fetch", "xhr")
    ]
    assert bodies
    assert not any(secret in text for secret in secrets for text in (*bodies, page.content()))
    file = two_versions.path / "key_file.json"
    assert httpx.get(f"{url}/gradio_api/file={file}").status_code in (403, 404)
    assert page.evaluate("() => ({ ...localStorage, ...sessionStorage })") == {}


def test_the_keyboard_alone_is_enough(page: "Page", photos: list[bytes]) -> None:
    from playwright.sync_api import expect

    give(page, photos[0])
    expect_verdict(page, "%")
    page.locator("#version").get_by_role("radio", name="1.0 (default)").focus()
    page.keyboard.press("ArrowRight")
    expect_verdict(page, "unknown")
    page.keyboard.press("Tab")  # each group is one stop
    assert page.evaluate("() => document.activeElement.closest('#beside') !== null")
    page.get_by_role("tab", name="One photo").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Several photos")).to_have_attribute("aria-selected", "true")


def test_parts_have_names_for_screen_readers(page: "Page") -> None:
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("heading", level=1).inner_text() == "What is in this photo?"
    assert page.locator("#verdict[aria-live=polite], #verdict [aria-live=polite]").count() == 1
    assert page.locator("#notice[aria-live=assertive], #notice [aria-live=assertive]").count() == 1
    assert page.get_by_role("radiogroup", name="Compare with").get_by_role("radio").count() == 3
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input:not([type=file]), a[href]")].filter(
            e => e.checkVisibility() && !(e.ariaLabel || e.title || e.innerText.trim()
                || e.labels?.[0]?.innerText.trim() || e.querySelector("img")?.alt)
        ).map(e => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_both_schemes(browser: "Browser", url: str, photos: list[bytes], scheme: Any) -> None:
    """Nothing is cut off at a phone's width, and text stands out from what is behind it."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page = context.new_page()
    open_(page, url)
    page.locator("#beside").get_by_role("radio", name="2.0").check()
    give(page, photos[0])
    expect_verdict(page, "The versions disagree")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    dark = page.evaluate(
        """() => getComputedStyle(document.querySelector(".card")).backgroundColor
            .match(/[\\d.]+/g).slice(0, 3).every(c => +c < 80)"""
    )
    assert dark == (scheme == "dark")
    context.close()


def test_a_server_that_is_killed_and_comes_back(
    context: "BrowserContext",
    new_home: "MakeHome",
    archive_path: Path,
    photos: list[bytes],
    right: dict[str, Any],
    tmp_path: Path,
) -> None:
    """The page is there before the server is, says so, and goes on by itself when it comes back."""
    from playwright.sync_api import expect

    from serving.rollout.operations import deploy

    home = new_home("page")
    with page_of(home.path, new_home("page").port, tmp_path) as url:
        page = context.new_page()
        page.goto(url)
        expect(page.locator("#notice")).to_contain_text("No server runs with home", timeout=WAIT_MS)
        page.evaluate("window.neverReloaded = true")
        server = home.start()
        expect(page.locator("#notice")).to_contain_text("flyobj models deploy", timeout=WAIT_MS)
        with home.client() as client:
            deploy(client, archive_path, workers=1)
        expect(page.locator("#notice")).to_be_empty(timeout=WAIT_MS)
        give(page, photos[0])
        expect_verdict(page, right["predicted"])
        process = server.process()
        assert process
        for child in process.children(recursive=True):
            child.kill()
        process.kill()
        expect(page.locator("#notice")).to_contain_text("No server runs with home", timeout=WAIT_MS)
        page.get_by_label("Remove Image").click()
        give(page, photos[0])
        expect_verdict(page, "The server didn't answer", "flyobj serve")
        home.restart()
        expect(page.locator("#notice")).to_be_empty(timeout=WAIT_MS)
        expect_verdict(page, right["predicted"])  # asked about again by itself
        assert page.evaluate("window.neverReloaded") is True
