"""From a dropped photo to its answer on the page, against the bare REST call for the same photo.

    python -m benchmarks.speed.page --home runs/server --photos photos/test

The page runs here, Chromium beside it, the server wherever it does. Both ways take turns on the same
photos, so that what else the machine does meets both alike. In the browser the clock runs from giving
the file until the answer is on the page; the REST call is the page's own, token and all. The last
line is one JSON document, times in ms.
"""

import shutil
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.program import parser_of, run
from model.errors import InputError
from model.photo_files import find_photos
from serving.names import DEFAULT_HOME
from serving.page.site import open_page
from serving.server.client import Client
from serving.server.latency import percentile
from serving.server.lifecycle import require

_WARM_UP = 5
# Gives the photo as a drop does, and waits for the answer's first letters.
_DROP = """bytes => new Promise(done => {
    const input = document.querySelector("#photo input[type=file]");
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], "photo.jpg", { type: "image/jpeg" }));
    const verdict = document.querySelector("#verdict");
    let started = 0;
    new MutationObserver((_, watching) => {
        if (!verdict.querySelector("b")) return;
        watching.disconnect();
        done(performance.now() - started);
    }).observe(verdict, { childList: true, subtree: true });
    input.files = files.files;
    started = performance.now();
    input.dispatchEvent(new Event("change", { bubbles: true }));
})"""


def measure(home: Path, photos: list[bytes], port: int) -> dict[str, Any]:
    """Ask about each photo both ways, in turn."""
    from playwright.sync_api import sync_playwright

    took: dict[str, list[float]] = {"rest_ms": [], "worker_ms": [], "page_ms": []}
    with (
        Client(require(home)) as client,
        open_page(home, port) as url,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("radio", name="default").wait_for()
        warm_up = photos[:_WARM_UP]
        for number, photo in enumerate(track([*warm_up, *photos], "photos", transient=True)):
            timed = client.ask(photo)
            shown_ms = page.evaluate(_DROP, list(photo))
            page.get_by_alt_text("heat map").wait_for()
            page.get_by_label("Remove Image").click()
            page.locator("#verdict b").wait_for(state="detached")
            if number >= len(warm_up):
                took["rest_ms"].append(timed.took_ms)
                took["worker_ms"].append(sum(timed.worker_ms.values()))
                took["page_ms"].append(shown_ms)
    summary = {name: _percentiles(values) for name, values in took.items()}
    return {"photos": len(photos), **summary}


def _chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise InputError("no chromium on this machine; Debian: apt-get install chromium")
    return found


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(percentile(values, q / 100), 1) for q in (50, 99)}


def main() -> None:
    """Read the options and measure."""
    parser = parser_of(__doc__)
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME, help="of the running server")
    parser.add_argument("--photos", type=Path, required=True, help="folder, searched through")
    parser.add_argument("--limit", type=int, default=40, help="photos, evenly spread")
    parser.add_argument("--port", type=int, default=7861, help="of the page")
    options = parser.parse_args()

    def ask_all() -> dict[str, Any]:
        photos = [path.read_bytes() for path in find_photos(options.photos, options.limit)]
        return measure(options.home, photos, options.port)

    run(ask_all)


if __name__ == "__main__":
    main()
