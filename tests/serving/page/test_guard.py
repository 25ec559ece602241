"""Whom the page answers: its own tab, under a name of this machine, and nobody with too much to say."""

import functools
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from serving.page.guard import MAX_UPLOAD_BYTES
from tests.helpers.servers import free_ports
from tests.serving.page.test_page import page_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guard")


@pytest.fixture(scope="module")
def url(place: Path) -> Iterator[str]:
    """A page in front of no server, which keeps uploads below `place`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(place))
        with page_of(place / "home", free_ports(1), place) as url:
            yield url


def uploaded(place: Path) -> int:
    """Count the files that the page has taken."""
    return sum(p.is_file() for p in place.glob("flyobj-page-*/**/*.jpg"))


OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
OPENED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize("headers", [{}, {"host": "localhost:1"}, {"host": "LOCALHOST"}, OWN, OPENED])
def test_its_own_tab_is_answered(url: str, headers: dict[str, str]) -> None:
    assert httpx.get(url, headers=headers).status_code == 200
    host = headers.get("host", urlsplit(url).netloc)
    config = httpx.get(f"{url}/config", headers={**headers, "origin": f"http://{host}"})
    assert config.status_code == 200


FOREIGN = ["evil.com", "evil.com:7860", "127.0.0.1.evil.com", "127.0.0.1:1@evil.com", "localhost."]
FOREIGN += ["localhost.evil.com", "[::1]", "0.0.0.0", "2130706433", ""]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_isnt_this_machines_is_refused(url: str, host: str) -> None:
    """Whoever owns a name can let it stand for 127.0.0.1."""
    answer = httpx.get(f"{url}/config", headers={"host": host})
    assert (answer.status_code, "isn't a name of this machine" in answer.text) == (403, True)


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.com", "http://127.0.0.1:9", "http://localhost", ""]
)
def test_another_origin_is_refused(url: str, origin: str) -> None:
    for path in ("/config", "/gradio_api/upload", "/gradio_api/queue/join"):
        method = "GET" if path == "/config" else "POST"
        answer = httpx.request(method, url + path, headers={"origin": origin}, content=b"")
        assert (answer.status_code, "may not use this page" in answer.text) == (403, True)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(("mode", "dest"), [("no-cors", "image"), ("navigate", "iframe"), ("cors", "")])
def test_what_another_page_embeds_is_refused(url: str, site: str, mode: str, dest: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert httpx.get(url, headers=headers).status_code == 403
    posted = httpx.post(url, headers={**OPENED, "sec-fetch-site": site})
    assert posted.status_code == 403


def test_an_upload_is_bounded_before_it_is_read(url: str, place: Path) -> None:
    """The body is never sent, so whoever waited for it would wait in vain."""
    before, address = uploaded(place), urlsplit(url)
    for length in (MAX_UPLOAD_BYTES + 1, 10**15):
        head = f"POST /gradio_api/upload HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-length: {length}"
        assert b" 413 " in raw(address.port or 0, f"{head}\r\n\r\n".encode()).splitlines()[0]
    chunked = httpx.post(f"{url}/gradio_api/upload", content=iter([b"x" * 1000]))
    assert chunked.status_code == 411
    assert uploaded(place) == before
    taken = httpx.post(f"{url}/gradio_api/upload", files={"files": ("x.jpg", b"photo")})
    assert (taken.status_code, uploaded(place)) == (200, before + 1)


def raw(port: int, request: bytes) -> bytes:
    """Send bytes as they are; return the beginning of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        return connection.recv(1000)


ATTACK = """
async (page) => {
  const form = () => {
    const form = new FormData();
    form.append("files", new Blob([new Uint8Array(1000)]), "evil.jpg");
    return form;
  };
  const join = JSON.stringify({data: [], fn_index: 0, session_hash: "x"});
  const upload = page + "/gradio_api/upload";
  const said = [];
  for (const [path, options] of [
    ["/config", {}],
    ["/gradio_api/upload", {method: "POST", body: form()}],
    ["/gradio_api/upload", {method: "POST", body: form(), mode: "no-cors"}],
    ["/gradio_api/queue/join", {method: "POST", body: join, mode: "no-cors"}],
  ]) {
    try {
      const answer = await fetch(page + path, options);
      said.push(answer.type === "opaque" ? "opaque" : answer.status);
    } catch (error) {
      said.push("refused");
    }
  }
  return said;
}
"""


def test_a_page_of_another_origin_can_do_nothing(
    url: str, chromium: str, place: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "evil.html").write_text("<form method=post enctype=multipart/form-data></form>")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    before = uploaded(place)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web, sync_playwright() as playwright:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        names = "--host-resolver-rules=MAP evil.test 127.0.0.1"
        browser: Browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", names]
        )
        with browser:
            for host in ("127.0.0.1", "evil.test"):
                page = browser.new_page()
                page.goto(f"http://{host}:{web.server_port}/evil.html")
                said = page.evaluate(ATTACK, url)
                assert set(said[:2]) <= {403, "refused"}
                assert said[2:] == ["opaque", "opaque"]  # sent, and refused by the page
                page.evaluate("url => { document.forms[0].action = url; }", f"{url}/gradio_api/upload")
                with page.expect_navigation() as posted:
                    page.evaluate("() => document.forms[0].submit()")
                assert posted.value.status == 403
            page = browser.new_page()
            rebound = page.goto(url.replace("127.0.0.1", "evil.test"))
            assert rebound
            assert rebound.status == 403
            opened = page.goto(url)
            assert opened
            assert opened.status == 200
        web.shutdown()
    assert uploaded(place) == before
