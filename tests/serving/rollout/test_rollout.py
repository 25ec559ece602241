"""Versions on a real server: answers over HTTP, deploy, promote, refuse, restart."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from model.answers import as_probabilities
from model.bundle import read_bundle
from model.errors import FlyobjError, InputError, PhotoError
from model.predictor import Predictor
from serving.archive.build import sha256
from serving.fleet.apply import FleetApplyFailed, apply_to_fleet
from serving.fleet.inventory import parse_servers
from serving.rollout.deployment import DeployedVersion, read_deployment, write_deployment
from serving.rollout.health import why_not_ready
from serving.rollout.operations import deploy, promote
from serving.rollout.readiness import wait_ready
from serving.rollout.reconcile import reconcile
from serving.server.client import Client
from serving.server.versions import list_versions

if TYPE_CHECKING:
    from tests.conftest import Home

Repack = Callable[..., Path]


@pytest.fixture
def client(server: "Home") -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def expected(run: Path, photos: list[bytes]) -> list[dict[str, float]]:
    predictor = Predictor(read_bundle(run / "bundle"))
    rows = [predictor.predict([predictor.prepare(photo)])[0] for photo in photos]
    return [as_probabilities(predictor.classes, row) for row in rows]


def served(home: "Home") -> tuple[set[str], str]:
    with home.client() as client:
        versions = list_versions(client)
    assert all(v.is_ready for v in versions)
    (default,) = [v.version for v in versions if v.default]
    return {v.version for v in versions}, default


def store_of(home: "Home") -> set[str]:
    return {p.name for p in home.store.iterdir()}


def test_http_answers_as_training_did(
    client: Client, photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    for photo, right in zip(photos, expected, strict=True):
        answer = client.predict(photo)
        assert set(answer) == {"predicted", "confidence", "novelty", "probabilities", "model_version"}
        assert answer["probabilities"] == pytest.approx(right, abs=1e-4)
        assert answer["model_version"] == "1.0"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [(b"words", 415, "UnsupportedFormat"), (b"\xff\xd8\xff\xe0 cut", 400, "UnreadableImage")],
)
def test_a_bad_photo(server: "Home", body: bytes, status: int, kind: str) -> None:
    response = httpx.post(server.url(), content=body, headers=server.headers())
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert (answer["code"], answer["type"]) == (status, kind)
    assert answer["message"]


def test_no_body_at_all(server: "Home") -> None:
    response = httpx.post(server.url(), headers=server.headers())
    assert (response.status_code, response.json()["type"]) == (400, "UnreadableImage")


def test_a_bad_photo_through_the_client(client: Client) -> None:
    with pytest.raises(PhotoError, match=r"no photo; send one of JPEG.*\(HTTP 415\)"):
        client.predict(b"words")


def test_multipart_uploads_are_answered_with_their_names(
    server: "Home", photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    headers = server.headers()
    one = httpx.post(server.url(), files={"left": ("a.jpg", photos[0])}, headers=headers).json()
    assert one["file"] == "left"
    assert one["probabilities"] == pytest.approx(expected[0], abs=1e-4)
    files = {"left": ("a.jpg", photos[0]), "right": ("b.txt", b"words")}
    both = httpx.post(server.url(), files=files, headers=headers)
    assert both.status_code == 200
    assert [answer["file"] for answer in both.json()] == ["left", "right"]
    assert both.json()[1]["type"] == "UnsupportedFormat"


def test_json_that_holds_half_a_character_hurts_only_itself(server: "Home") -> None:
    headers = server.headers()
    bad = httpx.post(
        server.url(), content=rb'"\ud800"', headers={**headers, "content-type": "application/json"}
    )
    assert (bad.status_code, bad.json()["type"]) == (422, "WrongJson")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_nobody_is_answered_without_a_token(
    server: "Home", photos: list[bytes], headers: dict[str, str]
) -> None:
    response = httpx.post(server.url(), content=photos[0], headers=headers)
    assert 400 <= response.status_code < 500
    assert "predicted" not in response.text
    management = f"http://127.0.0.1:{server.port + 1}/models"
    assert 400 <= httpx.get(management, headers=headers).status_code < 500


def test_a_version_that_does_not_exist(client: Client, photos: list[bytes]) -> None:
    with pytest.raises(InputError, match=r"9\.9.*`flyobj models list --home "):
        client.predict(photos[0], "9.9")


def test_concurrent_requests_form_batches(
    server: "Home", client: Client, photos: list[bytes], expected: list[dict[str, float]]
) -> None:
    before = client.batch_sizes()
    headers = server.headers()

    def ask(i: int) -> Any:
        content = b"words" if i % 8 == 5 else photos[i % 8]
        return httpx.post(server.url(), content=content, headers=headers, timeout=60)

    with ThreadPoolExecutor(24) as pool:
        responses = list(pool.map(ask, range(96)))
    for i, response in enumerate(responses):
        assert response.status_code == (415 if i % 8 == 5 else 200)
        if i % 8 != 5:
            assert response.json()["probabilities"] == pytest.approx(expected[i % 8], abs=1e-4)
    formed = {n: count - before.get(n, 0) for n, count in client.batch_sizes().items()}
    assert sum(n * count for n, count in formed.items()) == 96
    assert max(n for n, count in formed.items() if count) > 1
    assert max(formed) <= 8


def test_another_archive_of_a_version_is_refused(client: Client, repack: Repack, tmp_path: Path) -> None:
    path = repack(tmp_path / "flying_objects-1.0.mar", {"bundle/golden/golden.json": swap})
    message = r"version 1\.0 is deployed already, from another archive; package .*--version"
    with pytest.raises(InputError, match=message):
        deploy(client, path)


def test_promoting_what_is_not_deployed_is_refused(client: Client, server: "Home") -> None:
    with pytest.raises(InputError, match=r"version '7.0' isn't deployed; deployed are \['1.0'\]"):
        promote(client, "7.0")
    assert read_deployment(server.store).default == "1.0"


def test_a_second_name_in_a_store_is_refused(client: Client, repack: Repack, tmp_path: Path) -> None:
    def rename(text: str) -> str:
        return text.replace('"flying_objects"', '"cats"').replace('"1.0"', '"3.0"', 1)

    path = repack(tmp_path / "cats.mar", {"MAR-INF/MANIFEST.json": rename})
    remedy = (
        r"holds 'cats'; give it a store and a home of its own: `flyobj serve --detach --home runs/cats"
    )
    with pytest.raises(InputError, match=f"serves model 'flying_objects', .*{remedy}"):
        deploy(client, path)
    assert client.path() == "/predictions/flying_objects"


def swap(text: str) -> str:
    """Golden answers that no model gives: the probabilities of two classes change places."""
    golden = json.loads(text)
    for entry in golden:
        names = sorted(entry["probabilities"], key=entry["probabilities"].get)
        values = entry["probabilities"]
        values[names[0]], values[names[-1]] = values[names[-1]], values[names[0]]
    return json.dumps(golden)


def reverse(text: str) -> str:
    """A handler that answers right while it is loaded, and swaps classes from then on."""
    return text.replace(
        "rows = self._predictor.predict(pixels)", "rows = self._predictor.predict(pixels)[:, ::-1]", 1
    )


def numbered(repack: Repack, path: Path, version: str, entry: str, change: Callable[[str], str]) -> Path:
    """Another version of the archive, with one entry changed."""

    def number(text: str) -> str:
        return text.replace('"1.0"', f'"{version}"', 1)

    return repack(path, {"MAR-INF/MANIFEST.json": number, entry: change})


def crash(text: str) -> str:
    return text.replace("def initialize(self", "def initialize(self, _context, *more", 1)


@pytest.mark.parametrize(
    ("version", "entry", "change", "message"),
    [
        ("3.0", "bundle/golden/golden.json", swap, r"(crashed at start|dropped version).*workers\.log"),
        ("3.1", "flyobj_handler.py", crash, r"(crashed at start|dropped version).*workers\.log"),
        ("3.2", "flyobj_handler.py", reverse, r"version 3\.2 answers wrongly: .*training answered"),
    ],
    ids=["other answers, which its workers notice", "workers that don't start", "swapped once loaded"],
)
def test_a_version_that_does_not_work_is_refused_whole(
    server: "Home",
    client: Client,
    repack: Repack,
    tmp_path: Path,
    photos: list[bytes],
    version: str,
    entry: str,
    change: Callable[[str], str],
    message: str,
) -> None:
    before, files = read_deployment(server.store), store_of(server)
    path = numbered(repack, tmp_path / f"bad-{version}.mar", version, entry, change)
    with pytest.raises(FlyobjError, match=message):
        deploy(client, path)
    assert served(server) == ({"1.0"}, "1.0")
    assert client.predict(photos[0])["model_version"] == "1.0"
    assert read_deployment(server.store) == before
    assert store_of(server) == files  # or a mended archive of that name is refused
    if change is swap:
        reason = "this worker doesn't start: the model answers 4 of 4 golden photos differently"
        assert reason in (server.path / "logs" / "workers.log").read_text()


def test_wrong_answers_of_what_is_served_are_noticed(
    server: "Home", client: Client, repack: Repack
) -> None:
    """By a probe and by `apply` to a fleet; the version was given to the server past `deploy`."""
    before = read_deployment(server.store)
    assert why_not_ready(server.path) is None
    path = numbered(repack, server.store / "past.mar", "3.3", "flyobj_handler.py", reverse)
    try:
        client.register(path.name)
        wait_ready(client, "3.3")
        client.set_default("3.3")
        wrong = before.with_version("3.3", DeployedVersion(path.name, sha256(path), workers=1))
        write_deployment(replace(wrong, default="3.3"), server.store)
        assert re.search(r"training answered .* probabilities differ", why_not_ready(server.path) or "")
        members = parse_servers([str(server.path)], server.store, drained=False)
        with pytest.raises(FleetApplyFailed, match=r"version 3\.3 answers wrongly: .*training answered"):
            apply_to_fleet(members, server.store)
    finally:
        client.set_default("1.0")
        client.unregister("3.3")
        write_deployment(before, server.store)
        path.unlink()
    assert why_not_ready(server.path) is None


@pytest.fixture
def second(server: "Home", as_version: Callable[[Path, str], Path], tmp_path: Path) -> Iterator[Path]:
    """Version 2.0 beside 1.0; gone again afterwards."""
    before = read_deployment(server.store)
    path = as_version(tmp_path, "2.0")
    with server.client() as client:
        deploy(client, path)
    yield path
    with server.client() as client:
        client.set_default("1.0")
        client.unregister("2.0")
    write_deployment(before, server.store)
    (server.store / path.name).unlink()


def test_deploy_promote_restart_and_back(server: "Home", second: Path, photos: list[bytes]) -> None:
    with server.client() as client:
        assert served(server) == ({"1.0", "2.0"}, "1.0")
        assert (server.store / second.name).read_bytes() == second.read_bytes()
        assert client.predict(photos[0])["model_version"] == "1.0"
        assert client.predict(photos[0], "2.0")["model_version"] == "2.0"
        promote(client, "2.0")
        assert client.predict(photos[0])["model_version"] == "2.0"
        assert client.predict(photos[0], "1.0")["model_version"] == "1.0"
    deployment = json.loads((server.store / "deployment.json").read_text())
    assert deployment["default"] == "2.0"
    assert set(deployment["versions"]) == {"1.0", "2.0"}

    server.restart()

    assert served(server) == ({"1.0", "2.0"}, "2.0")
    with server.client() as client:
        assert client.predict(photos[0])["model_version"] == "2.0"
        promote(client, "1.0")
        assert client.predict(photos[0])["model_version"] == "1.0"
    assert json.loads((server.store / "deployment.json").read_text())["default"] == "1.0"


def test_an_archive_that_was_exchanged_is_not_brought_back(
    client: Client, server: "Home", as_version: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """A store whose archive isn't the deployed one, given to a server that runs."""
    store = shutil.copytree(server.store, tmp_path / "store")
    other = DeployedVersion(as_version(store, "2.0").name, "0" * 64)
    write_deployment(read_deployment(store).with_version("2.0", other), store)
    with (
        Client(replace(client.server, model_store=str(store))) as exchanged,
        pytest.raises(InputError, match=r"is not the archive that was deployed as version 2\.0"),
    ):
        reconcile(exchanged)
    assert served(server) == ({"1.0"}, "1.0")
