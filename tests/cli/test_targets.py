"""`flyobj evaluate` on a run, its archive and a running server: one command, the same answers."""

import base64
import io
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from cli.targets import open_target
from model.errors import InputError
from model.golden import TOLERANCE

if TYPE_CHECKING:
    from tests.conftest import Home

pytestmark = pytest.mark.slow

FlyObj = Callable[..., subprocess.CompletedProcess[str]]


def pictures_of(page: str) -> list[np.ndarray[Any, Any]]:
    """Decode the photos and heat maps of a report."""
    texts = [part.split('"')[0] for part in page.split("data:image/jpeg;base64,")[1:]]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), float) for text in texts]


def test_bundle_archive_and_server_agree(
    inside: FlyObj, run: Path, archive_path: Path, server: "Home", dataset: Path, tmp_path: Path
) -> None:
    """On every photo; and where the network looked is the same too."""
    url = f"http://127.0.0.1:{server.port}/predictions/flying_objects/1.0"
    options = ("--data", dataset, "--home", server.path, "--json")
    told = inside(
        *("evaluate", run / "bundle", *options, "--out", tmp_path / "bundle"),
        *("--against", archive_path, "--against", url),
    )
    result = json.loads(told.stdout)
    assert [a["target"] for a in result["agreement"]] == [f"archive {archive_path}", f"server {url}"]
    for agreement in result["agreement"]:
        assert agreement["agrees"]
        assert agreement["largest_difference"] <= TOLERANCE
        assert agreement["flips"] == []
    for name, target in (("archive", archive_path), ("server", url)):
        own = json.loads(inside("evaluate", target, *options, "--out", tmp_path / name).stdout)
        for key in ("confusion", "accuracy", "accuracy_95"):
            assert own[key] == result[key]
        page, first = ((tmp_path / n / "report.html").read_text() for n in (name, "bundle"))
        pictures = [pictures_of(one) for one in (page, first)]
        assert len(pictures[0]) == len(pictures[1]) > 0
        for ours, theirs in zip(*pictures, strict=True):
            assert np.abs(ours - theirs).mean() < 0.1  # of 255; the heat is an engine's own
        assert (tmp_path / name / "MODEL_CARD.md").exists() == (name == "archive")


def test_answers_that_differ_end_with_1(
    inside: FlyObj, run_copy: Path, archive_path: Path, dataset: Path
) -> None:
    path = run_copy / "bundle" / "model.json"
    document = json.loads(path.read_text())
    document["preprocessing"]["mean"] = [0.9, 0.1, 0.4]
    path.write_text(json.dumps(document))
    result = inside("evaluate", run_copy, "--data", dataset, "--against", archive_path, code=1)
    assert "answer differently: probabilities are up to" in result.stderr
    assert "answers differ from archive" in result.stdout
    assert (run_copy / "evaluation" / "report.html").is_file()


def test_what_a_server_refuses_has_no_probabilities(server: "Home", photos: list[bytes]) -> None:
    with open_target(f"http://localhost:{server.port}", server.path) as target:
        assert len(target.classes) == 4
        good, bad = target.answer([photos[0], b"words"])
        (explained,) = target.answer(photos[:1], explain=True)
    assert np.isclose(sum(good["probabilities"].values()), 1)
    assert "probabilities" not in bad
    assert "is no photo" in bad["message"]
    assert explained["explanation"]["overlay_png"]


def test_an_archive_refuses_one_photo_alone(archive_path: Path, photos: list[bytes]) -> None:
    with open_target(str(archive_path), Path("none")) as target:
        bad, good = target.answer([b"words", photos[0]])
    assert "is no photo" in bad["message"]
    assert list(good["probabilities"]) == list(target.classes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "doesn't exist; give a run folder"),
        (".", "holds no model"),
        ("ftp://127.0.0.1", "isn't an inference address; give http://HOST:PORT"),
        ("http://127.0.0.1:port", "isn't an inference address"),
        ("http://127.0.0.1/models/x", "isn't an inference address"),
        ("http://127.0.0.1:9", "nothing answers at http://127.0.0.1:9/predictions/flying_objects"),
    ],
)
def test_what_is_no_target(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message), open_target(name, tmp_path):
        pass


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.mar").write_text("words")
    with (
        pytest.raises(InputError, match="isn't a valid archive"),
        open_target(f"{tmp_path}/a.mar", tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("path", "home", "message"),
    [
        ("/predictions/flying_objects/7.0", "its own", "check the name and the version"),
        ("", "another", "give the --home of the server, or its token as FLYOBJ_TOKEN"),
    ],
)
def test_a_server_that_does_not_classify(
    server: "Home", tmp_path: Path, path: str, home: str, message: str
) -> None:
    url = f"http://127.0.0.1:{server.port}{path}"
    with (
        pytest.raises(InputError, match=message),
        open_target(url, server.path if home == "its own" else tmp_path),
    ):
        pass


def test_the_token_may_come_from_the_environment(
    server: "Home", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYOBJ_TOKEN", server.headers()["Authorization"].split()[1])
    with open_target(f"http://127.0.0.1:{server.port}", tmp_path) as target:
        assert len(target.classes) == 4


class Proxy(BaseHTTPRequestHandler):
    """Answers by itself, whatever server is asked for; it keeps the addresses."""

    asked: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        answer = {"predicted": "a", "probabilities": {"a": 0.7, "b": 0.3}, "model_version": "3.0"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the proxy that the environment names is asked for."""
    addresses: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Proxy,), {"asked": addresses})) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("FLYOBJ_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        yield addresses
        proxy.shutdown()


def test_other_machines_are_asked_through_the_proxy(asked: list[str], tmp_path: Path) -> None:
    with open_target("http://photos.example:8080/predictions/planes/3.0", tmp_path) as target:
        assert target.classes == ("a", "b")
    assert asked == ["http://photos.example:8080/predictions/planes/3.0"]
    with (
        pytest.raises(InputError, match=r"nothing answers at http://127\.0\.0\.1:9/"),
        open_target("http://127.0.0.1:9", tmp_path),
    ):
        pass
    assert len(asked) == 1


@pytest.mark.parametrize(
    "proxy",
    [
        "127.0.0.1:3128",
        "ftp://127.0.0.1:21",
        "http://a:b",
        "http://",
        "http://127.0.0.1:9",
        "http://[:9",
    ],
)
def test_what_is_no_proxy(proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYOBJ_PROXY", proxy)
    with (
        pytest.raises(InputError) as caught,
        open_target("http://photos.example:8080", tmp_path),
    ):
        pass
    assert str(caught.value).startswith(f"FLYOBJ_PROXY={proxy!r}: ")
    assert str(caught.value).endswith("; give http://HOST:PORT of a proxy")
