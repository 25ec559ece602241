"""A share of the traffic for another version, through a real nginx."""

import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from model.errors import InputError
from serving.fleet import canary
from serving.names import DEFAULT_MODEL
from serving.stock import stock_file
from tests.helpers.tools import find_tool

NGINX = find_tool("nginx")
needs_nginx = pytest.mark.usefixtures("nginx")
LIMITS = canary.CanaryLimits(error_rate=0.1, p99_ratio=2, window_s=3600, least=20)
REQUESTS, CLIENTS, ANSWER_S = 1000, 6, 0.04  # 150 a second, where a gate lets 200 through


class Upstream(BaseHTTPRequestHandler):
    """Answers with the path it was asked for; the canary's with `status`."""

    status = 200
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer on a kept connection takes 40 ms

    def do_POST(self) -> None:
        photo = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(ANSWER_S)
        body = json.dumps([self.path, self.headers["Authorization"], len(photo)]).encode()
        self.send_response(self.status if self.path.endswith("/2.0") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[int]:
    Upstream.status = 200
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as web:
        web.daemon_threads = True
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield web.server_port
        web.shutdown()
        thread.join()


@pytest.fixture
def proxy(tmp_path: Path, upstream: int, free_port: int) -> Iterator[Callable[[], Counter[str]]]:
    """A running nginx with 20 % for version 2.0; call it to send requests and count the versions."""
    folder = tmp_path / "proxy"
    assert canary.start(folder, upstream, DEFAULT_MODEL, "2.0", 20, free_port) is False
    command = [str(NGINX), "-p", str(folder), "-c", "nginx.conf"]
    with subprocess.Popen([*command, "-g", "daemon off;"]) as process:
        url = f"http://127.0.0.1:{free_port}/predictions/flying_objects"
        wait_for(lambda: (folder / "nginx.pid").is_file() and httpx.get(url + "/x").status_code)

        def ask(requests: int = REQUESTS) -> Counter[str]:
            with (
                httpx.Client(headers={"Authorization": "Bearer t"}) as http,
                ThreadPoolExecutor(CLIENTS) as pool,
            ):
                asked = [pool.submit(http.post, url, content=b"photo") for _ in range(requests)]
                answers = [one.result().json() for one in asked]
            assert {(token, size) for _, token, size in answers} == {("Bearer t", 5)}
            return Counter(path.removeprefix("/predictions/flying_objects") for path, *_ in answers)

        yield ask
        process.terminate()


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail("nginx didn't come up")


@needs_nginx
def test_the_share_and_back(proxy: Callable[..., Counter[str]], tmp_path: Path) -> None:
    folder = tmp_path / "proxy"
    counts = proxy()
    assert set(counts) == {"", "/2.0"}
    assert 0.2 * REQUESTS - 80 < counts["/2.0"] < 0.2 * REQUESTS + 80  # six standard deviations
    wait_for(lambda: sum(side.answers for side in canary.judge(folder, LIMITS)[:2]) == REQUESTS)
    mine, others, why = canary.judge(folder, LIMITS)
    assert (mine.answers, others.answers, mine.failed, why) == (counts["/2.0"], counts[""], 0, None)

    assert canary.off(folder) is True
    wait_for(lambda: set(proxy(50)) == {""})
    assert set(proxy(200)) == {""}


@needs_nginx
def test_a_canary_that_fails_is_switched_off(
    proxy: Callable[..., Counter[str]], tmp_path: Path, flyobj: Callable[..., object]
) -> None:
    Upstream.status = 503
    counts = proxy(400)
    result = flyobj(
        "canary", "check", "--proxy", tmp_path / "proxy", "--least", 20, "--window", 3600, code=1
    )
    said = str(getattr(result, "stderr", ""))
    assert f"{counts['/2.0']} of the canary's {counts['/2.0']} answers failed" in said
    wait_for(lambda: set(proxy(50)) == {""})


@needs_nginx
def test_the_stock_configuration_is_valid(tmp_path: Path) -> None:
    """As it stands in the repository, with the default ports."""
    canary.start(tmp_path, 8080, DEFAULT_MODEL, "2.0", 5, 8090)
    stock = stock_file("deploy/nginx/nginx.conf")
    assert (tmp_path / "nginx.conf").read_text() == stock.read_text()
    (tmp_path / "nginx.conf").write_text(stock.read_text() + "# mine\n")
    canary.start(tmp_path, 8080, DEFAULT_MODEL, "2.0", 10, 8090)
    assert (tmp_path / "nginx.conf").read_text().endswith("# mine\n")
    command = [str(NGINX), "-t", "-p", str(tmp_path), "-c", "nginx.conf"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr


def test_one_folder_splits_the_traffic_of_one_model(tmp_path: Path) -> None:
    canary.start(tmp_path, 8080, "cats", "2.0", 5, 8090)
    written = (tmp_path / "nginx.conf").read_text()
    assert '"predictions/cats" $canary' in written
    assert "predictions/flying_objects" not in written
    with pytest.raises(InputError, match=r"nginx\.conf' splits the traffic of another model than 'cat'"):
        canary.start(tmp_path, 8080, "cat", "2.0", 5, 8090)


def test_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    """Its nginx.conf has the server's address and no keys; the share is split as before."""
    split = "location = /predictions/cats { proxy_pass http://torchserve/predictions/cats$canary; }"
    (tmp_path / "nginx.conf").write_text(split)
    assert canary.start(tmp_path, 8080, "cats", "2.0", 20, 8090) is False
    assert (tmp_path / "nginx.conf").read_text() == split
    assert '20.00% "/2.0"' in (tmp_path / "canary.conf").read_text()
    with pytest.raises(InputError, match="splits the traffic of another model"):
        canary.start(tmp_path, 8080, "dogs", "2.0", 20, 8090)


def test_what_no_version_answered_is_not_judged(tmp_path: Path) -> None:
    """Refused keys and named versions are in the same log."""
    write_log(tmp_path, 0.1, 0.1)
    (tmp_path / "logs" / "canary.log").rename(tmp_path / "logs" / "access.log")
    line = {"time": time.time(), "status": 503, "seconds": 9, "canary": "/2.0", "upstream": ""}
    named = line | {"canary": "named", "upstream": "127.0.0.1:8080"}
    with (tmp_path / "logs" / "access.log").open("a") as log:
        log.writelines(json.dumps(each) + "\n" for each in (line, named) * 50)
    mine, others, why = canary.judge(tmp_path, LIMITS)
    assert (mine.answers, others.answers, mine.failed, why) == (50, 50, 0, None)


def write_log(
    folder: Path, canary_s: float, others_s: float, n: int = 50, statuses: Sequence[int] = (200,)
) -> None:
    """The canary's answers have `statuses` in turn."""
    (folder / "logs").mkdir(exist_ok=True)
    lines = [
        {
            "time": time.time() - age,
            "canary": side,
            "status": statuses[age % len(statuses)] if side else 200,
            "seconds": seconds,
        }
        for side, seconds in (("/2.0", canary_s), ("", others_s))
        for age in range(n)
    ]
    (folder / "logs" / "canary.log").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("canary_s", "n", "why"),
    [
        (0.19, 50, None),
        (0.21, 50, r"the canary's p99 is 0\.210 s, the others' 0\.100 s; 2 times that is allowed"),
        (0.21, 10, None),
    ],
    ids=["slower, but allowed", "too slow", "too few answers"],
)
def test_a_slow_canary(tmp_path: Path, canary_s: float, n: int, why: str | None) -> None:
    write_log(tmp_path, canary_s, 0.1, n)
    found = canary.judge(tmp_path, LIMITS)[2]
    assert found is None if why is None else re.search(why, str(found))


@pytest.mark.parametrize(
    ("statuses", "failed"),
    [((200, 500), 25), ((502, 200, 200, 200, 200), 10), ((503,), 50), ((400, 413, 429, 499), 0)],
)
def test_which_answers_of_a_canary_are_failures(
    tmp_path: Path, statuses: tuple[int, ...], failed: int
) -> None:
    """What the server couldn't do, not what a sender got wrong."""
    write_log(tmp_path, 0.1, 0.1, 50, statuses)
    mine, others, why = canary.judge(tmp_path, LIMITS)
    assert (mine.answers, mine.failed, others.failed) == (50, failed, 0)
    said = f"{failed} of the canary's 50 answers failed, a share of 0.1 is allowed"
    assert why == (said if failed else None)


def test_failures_of_too_few_answers_are_not_judged(tmp_path: Path) -> None:
    write_log(tmp_path, 0.1, 0.1, LIMITS.least - 1, (503,))
    mine, _, why = canary.judge(tmp_path, LIMITS)
    assert (mine.failed, why) == (LIMITS.least - 1, None)
    write_log(tmp_path, 0.1, 0.1, LIMITS.least, (503,))
    assert canary.judge(tmp_path, LIMITS)[2] is not None


@pytest.mark.parametrize(
    ("slow", "of", "judged"),
    [(6, 60, False), (7, 60, True), (26, 1000, False), (27, 1000, True)],
)
def test_more_slow_answers_than_chance_makes(tmp_path: Path, slow: int, of: int, judged: bool) -> None:
    """1 in 100 may be slower. A pause of both sides, too, catches some answers of the canary."""
    write_log(tmp_path, 0.1, 0.1, of)
    slow_down(tmp_path, [5.0] * slow)
    mine, others, why = canary.judge(tmp_path, LIMITS)
    assert (mine.p99_s, others.p99_s) == (5.0, 0.1)
    assert bool(why) is judged


def test_a_canarys_p99_is_no_other_percentile(tmp_path: Path) -> None:
    """Of 1,000 answers of both: nearly all take 0.1 s, 3 % of the canary's 5 s and its slowest 9 s."""
    write_log(tmp_path, 0.1, 0.1, 1000)
    slow_down(tmp_path, [9.0, *[5.0] * 29])
    mine, others, why = canary.judge(tmp_path, LIMITS)
    assert (mine.p99_s, others.p99_s) == (5.0, 0.1)
    assert "the canary's p99 is 5.000 s" in str(why)


def slow_down(folder: Path, seconds: Sequence[float]) -> None:
    """Let the canary's first answers have taken so long."""
    path = folder / "logs" / "canary.log"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, s in zip([line for line in lines if line["canary"]], seconds, strict=False):
        line["seconds"] = s
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_old_answers_are_not_judged(tmp_path: Path) -> None:
    write_log(tmp_path, 9, 0.1)
    mine, others, _ = canary.judge(tmp_path, canary.CanaryLimits(window_s=9.5, least=20))
    assert (mine.answers, others.answers) == (10, 10)


@pytest.mark.parametrize(("version", "percent"), [("2", 0), ("2", 101), ('2"; }', 5)])
def test_a_split_that_makes_no_sense(tmp_path: Path, version: str, percent: float) -> None:
    with pytest.raises(InputError):
        canary.start(tmp_path, 8080, DEFAULT_MODEL, version, percent, 8090)
    assert list(tmp_path.iterdir()) == []


def test_off_without_a_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no nginx\.conf"):
        canary.off(tmp_path)


def test_all_the_traffic(tmp_path: Path) -> None:
    canary.start(tmp_path, 8080, DEFAULT_MODEL, "2.0", 100, 8090)
    assert '* "/2.0";' in (tmp_path / "canary.conf").read_text()
