"""What the server doesn't have, or whose workers don't come: nothing is changed."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.errors import FlyobjError, InputError
from serving.archive.build import read_archive
from serving.rollout import archive_variant, operations, readiness
from serving.rollout.deployment import read_deployment, write_deployment
from serving.rollout.operations import deploy, promote, remove, retire, scale
from serving.rollout.quiesce import WorkersBusy, hold_workers
from serving.rollout.reconcile import apply, diff
from serving.rollout.shadow import compare
from serving.server.client import Client, ServerError
from serving.server.lifecycle import Server
from tests.helpers.management import Place, write_archive

Answer = Callable[[httpx.Request], tuple[int, Any]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A server with 1.0, the default, and 2.0."""
    place = Place(tmp_path / "place")
    place.make()
    with place.client() as client:
        for name in ("1.0", "2.0"):
            deploy(client, write_archive(tmp_path, name))
    return place


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    with place.client() as client:
        yield client


def change(place: Place, version: str, **values: object) -> None:
    """Change what the server has of a version, behind the deployment's back."""
    state = place.load()
    state["versions"][version] |= values
    place.save(state)


def lose(place: Place, version: str) -> None:
    state = place.load()
    del state["versions"][version]
    place.save(state)


def answer_otherwise(place: Place, monkeypatch: pytest.MonkeyPatch, other: Answer) -> None:
    """Let `other` answer; where its status is 0 the server does, as before."""
    usual = place.answer

    def answer(request: httpx.Request) -> tuple[int, Any]:
        status, document = other(request)
        return (status, document) if status else usual(request)

    monkeypatch.setattr(place, "answer", answer)


def test_what_the_server_has_not_is_neither_scaled_nor_made_the_default(
    place: Place, client: Client
) -> None:
    before = read_deployment(place.store)
    lose(place, "2.0")
    with pytest.raises(InputError, match=r"version 2\.0 isn't on the server; see `flyobj models diff"):
        scale(client, "2.0", 3)
    with pytest.raises(FlyobjError, match=r"2\.0 isn't ready \(not on the server\); the default stays"):
        promote(client, "2.0")
    assert read_deployment(place.store) == before


def test_a_version_without_a_ready_worker_does_not_become_the_default(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = place.answer

    def answer(request: httpx.Request) -> tuple[int, Any]:
        status, documents = usual(request)
        if request.method == "GET" and status == 200:
            for worker in (worker for entry in documents for worker in entry["workers"]):
                worker["status"] = "UNLOADED"
        return status, documents

    answer_otherwise(place, monkeypatch, answer)
    with pytest.raises(FlyobjError, match=r"version 2\.0 isn't ready \(0 of 2 workers\)"):
        promote(client, "2.0")
    write_deployment(read_deployment(place.store).with_default("2.0"), place.store)
    with pytest.raises(FlyobjError, match=r"version 2\.0 isn't ready; the default stays 1\.0"):
        apply(client)
    assert place.load()["default"] == "1.0"


def test_workers_that_do_not_come_are_taken_back(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deployment says what it said before, and the server has as many as before."""
    before, asked = read_deployment(place.store), list[str]()

    def answer(request: httpx.Request) -> tuple[int, Any]:
        if request.method != "PUT":
            return 0, None
        asked.append(request.url.params["min_worker"])
        return (500, {"message": "no memory"}) if asked[-1] == "5" else (0, None)

    answer_otherwise(place, monkeypatch, answer)
    with pytest.raises(ServerError, match="no memory"):
        scale(client, "2.0", 5)
    assert asked == ["5", "2"]
    assert read_deployment(place.store) == before


def test_a_promote_that_was_interrupted_does_not_keep_a_version(place: Place, client: Client) -> None:
    """It is the server's default already, and not yet the deployment's."""
    state = place.load()
    place.save(state | {"default": "2.0"})
    retire(client, "2.0")
    assert place.load() == {"default": "1.0", "versions": {"1.0": state["versions"]["1.0"]}}


def waiting(place: Place, number: int) -> Answer:
    """As many requests wait for each version."""
    usual = place.answer

    def answer(request: httpx.Request) -> tuple[int, Any]:
        if request.method != "GET" or not request.url.path.startswith("/models"):
            return 0, None
        status, documents = usual(request)
        queue = {"pendingRequests": number, "remainingCapacity": 100 - number}
        return status, [{**document, "jobQueueStatus": queue} for document in documents]

    return answer


def test_a_version_that_is_always_asked_stays(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_otherwise(place, monkeypatch, waiting(place, 3))
    with pytest.raises(WorkersBusy, match=r"2\.0 is never idle.* longer than 0\.2 s; it stays"):
        remove(client, "2.0", 0.2)
    assert "2.0" in place.load()["versions"]


def test_who_waits_for_a_version_without_workers_is_answered_first(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is started for them."""
    change(place, "2.0", workers=0)
    answer_otherwise(place, monkeypatch, waiting(place, 1))
    with pytest.raises(WorkersBusy, match="never idle"):
        remove(client, "2.0", 0.2)
    assert place.load()["versions"]["2.0"]["workers"] == 1


def test_an_archive_that_changes_while_it_is_copied_is_not_deployed(
    place: Place, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copyfile

    def copy_half(source: Path, target: Path) -> None:
        copy(source, target)
        target.write_bytes(target.read_bytes()[:-9])

    monkeypatch.setattr(operations.shutil, "copyfile", copy_half)
    with pytest.raises(
        FlyobjError, match=r"3\.0\.mar' was changed while it was copied; deploy it again"
    ):
        deploy(client, write_archive(tmp_path, "3.0"))
    assert sorted(path.name for path in place.store.glob("*.mar")) == [
        "flying_objects-1.0.mar",
        "flying_objects-2.0.mar",
    ]
    assert "3.0" not in place.load()["versions"]


def test_a_version_that_vanishes_or_never_comes_is_not_waited_for(
    place: Place, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FlyobjError, match=r"the server dropped version 7\.0"):
        readiness.wait_ready(client, "7.0")
    monkeypatch.setattr(readiness, "READY_TIMEOUT_S", 0.3)
    change(place, "2.0", workers=0)
    with pytest.raises(FlyobjError, match=r"version 2\.0 wasn't ready within 0\.3 s"):
        readiness.wait_ready(client, "2.0")


def test_another_archive_under_a_versions_name_is_replaced(place: Place, client: Client) -> None:
    change(place, "2.0", archive="other.mar")
    (found,) = diff(client)
    assert (found.action, found.version, found.server) == ("restart", "2.0", "other.mar")
    apply(client)
    assert diff(client) == []
    assert place.load()["versions"]["2.0"]["archive"] == "flying_objects-2.0.mar"


def test_another_machines_server_is_given_no_other_batches(place: Place, client: Client) -> None:
    deployed = replace(read_deployment(place.store).versions["2.0"], batch_size=4)
    archive = read_archive(place.store / deployed.archive)
    with pytest.raises(InputError, match="batchSize can only be changed on the server's own machine"):
        archive_variant.archive_to_register(archive, deployed, client.server)


def test_a_server_whose_temporary_folder_is_gone_is_named(tmp_path: Path) -> None:
    server = Server(1, 0.0, 9, str(tmp_path / "store"), str(tmp_path / "home"))
    with (
        Client(server) as client,
        pytest.raises(FlyobjError, match=r"temporary folder '.*' can't be used \(No such file or dir"),
        hold_workers(client, "1.0", 1),
    ):
        pass


def test_a_photo_that_both_versions_refuse_is_answered_alike(
    place: Place, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = {"1.0", "2.0"}

    def answer(request: httpx.Request) -> tuple[int, Any]:
        version = request.url.path.rpartition("/")[2]
        if not request.url.path.startswith("/predictions"):
            return 0, None
        if request.content == b"words" and version in refusing:
            return 415, {"code": 415, "type": "UnsupportedFormat", "message": "is no photo"}
        shares = {"a": 0.9, "b": 0.1}
        return 200, {"predicted": "a", "confidence": 0.9, "probabilities": shares}

    answer_otherwise(place, monkeypatch, answer)
    photos = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    photos[0].write_bytes(b"photo")
    photos[1].write_bytes(b"words")
    found = compare(client, "2.0", "1.0", photos)
    assert (found.agreement, found.flips) == (1, ())
    refusing.remove("1.0")
    (flip,) = compare(client, "2.0", "1.0", photos).flips
    assert (flip.photo, flip.before, flip.after) == (str(photos[1]), "a", "error")
