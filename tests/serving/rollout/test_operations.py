"""Promote, roll back, scale, retire, diff, apply on a real server, also after an interruption."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from model.errors import FlyobjError, InputError
from model.photo_files import find_photos
from serving.rollout import health, shadow
from serving.rollout.deployment import Deployment, lock_deployment, read_deployment, write_deployment
from serving.rollout.history import read_history
from serving.rollout.operations import deploy, promote, retire, rollback, scale
from serving.rollout.quiesce import WorkersBusy, hold_workers
from serving.rollout.readiness import wait_ready
from serving.rollout.reconcile import apply, diff
from serving.server.client import Client
from serving.server.versions import find_version, list_versions

if TYPE_CHECKING:
    from tests.conftest import Home


@pytest.fixture(scope="module")
def home(
    new_home: Callable[[str], "Home"],
    archive_path: Path,
    repack: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> "Home":
    """A server with versions 1.0, the default, and 2.0; a worker each instead of the archive's two.

    2.0 calls every photo "unknown".
    """

    def unsure(text: str) -> str:
        calibration = {"temperature": 1.0, "reject_below": 1.0}
        return json.dumps({**json.loads(text), "calibration": calibration})

    changes = {
        "MAR-INF/MANIFEST.json": lambda text: text.replace('"1.0"', '"2.0"', 1),
        "bundle/model.json": unsure,
    }
    second = repack(tmp_path_factory.mktemp("second") / "flying_objects-2.0.mar", changes)
    home = new_home("operations")
    home.start()
    with home.client() as client:
        assert deploy(client, archive_path, workers=1).workers == 1
        deploy(client, second, workers=1)
    return home


@pytest.fixture
def client(home: "Home") -> Iterator[Client]:
    with home.client() as client:
        yield client
        apply(client)
        if client.default_version() != "1.0":
            promote(client, "1.0")
    write_deployment(replace(read_deployment(home.store), previous=None), home.store)


def served(client: Client) -> list[tuple[str, bool, int]]:
    return [(v.version, v.default, v.ready) for v in list_versions(client)]


BOTH = [("1.0", True, 1), ("2.0", False, 1)]
TURNED = [("1.0", False, 1), ("2.0", True, 1)]


def test_promote_and_roll_back(client: Client, home: "Home", photos: list[bytes]) -> None:
    assert served(client) == BOTH
    promote(client, "2.0")
    promote(client, "2.0")  # again: no change, and 1.0 stays the one to go back to
    assert client.predict(photos[0])["model_version"] == "2.0"
    assert rollback(client) == "1.0"
    assert client.predict(photos[0])["model_version"] == "1.0"
    assert read_deployment(home.store).default == "1.0"
    with pytest.raises(InputError, match=r"no default before '1\.0' is known"):
        rollback(client)
    operations = [(e.operation, e.outcome) for e in read_history(home.store)][-4:]
    assert operations[:3] == [("promote", "done"), ("promote", "done"), ("rollback", "done")]
    assert operations[3][0] == "rollback"
    assert "no default before" in operations[3][1]


def test_an_interrupted_promote_is_finished_by_a_second_one(client: Client, home: "Home") -> None:
    write_deployment(read_deployment(home.store).with_default("2.0"), home.store)  # and then killed
    (change,) = diff(client)
    assert (change.action, change.version, change.server) == ("set default", "2.0", "1.0")
    promote(client, "2.0")
    assert served(client) == TURNED
    assert diff(client) == []


def test_an_interrupted_promote_is_undone_by_a_rollback(client: Client, home: "Home") -> None:
    write_deployment(read_deployment(home.store).with_default("2.0"), home.store)
    assert rollback(client) == "1.0"
    assert (served(client), read_deployment(home.store).default) == (BOTH, "1.0")


def test_an_interrupted_rollback_is_finished_by_a_second_one(client: Client, home: "Home") -> None:
    promote(client, "2.0")
    write_deployment(read_deployment(home.store).with_rollback(), home.store)
    assert rollback(client) == "1.0"
    assert (served(client), read_deployment(home.store).default) == (BOTH, "1.0")


def test_retire_refuses_the_default_and_what_is_not_there(client: Client) -> None:
    with pytest.raises(InputError, match=r"version 1\.0 is the default; .* promote"):
        retire(client, "1.0")
    with pytest.raises(InputError, match=r"version '7\.0' isn't deployed"):
        retire(client, "7.0")
    with pytest.raises(InputError, match=r"version '7\.0' isn't deployed"):
        scale(client, "7.0", 2)
    assert served(client) == BOTH


def test_a_file_in_the_store_is_neither_served_nor_overwritten(
    client: Client, home: "Home", as_version: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    """Under the name of an archive that is deployed from elsewhere."""
    archive = as_version(tmp_path, "4.0")
    there = home.store / archive.name
    there.write_bytes(b"somebody's")
    before = served(client)
    with pytest.raises(InputError, match="exists already and is another archive; rename yours, or"):
        deploy(client, archive)
    assert there.read_bytes() == b"somebody's"
    assert served(client) == before
    there.unlink()


def test_retire_scale_and_deploy_finish_what_was_interrupted(
    client: Client, home: "Home", photos: list[bytes]
) -> None:
    """One after the other, as each begins where the one before ends."""
    deployment = read_deployment(home.store)
    client.scale("2.0", 0)  # a retire that was killed after its first step
    retire(client, "2.0")
    assert served(client) == BOTH[:1]
    assert set(read_deployment(home.store).versions) == {"1.0"}
    assert httpx.post(home.url("/2.0"), content=photos[0], headers=home.headers()).status_code == 404

    archive = home.store / "flying_objects-2.0.mar"
    client.register(archive.name)  # a deploy that was killed while its workers started
    deploy(client, archive, workers=1)
    assert served(client) == BOTH
    deploy(client, archive)  # once more is no error and changes nothing
    assert (served(client), read_deployment(home.store)) == (BOTH, deployment)

    more = replace(deployment.versions["2.0"], workers=2)
    write_deployment(deployment.with_version("2.0", more), home.store)  # a scale that was killed
    assert [(c.action, c.server, c.file) for c in diff(client)] == [("scale", "1 workers", "2 workers")]
    assert scale(client, "2.0", 2).ready == 2
    assert scale(client, "2.0", 1).ready == 1
    assert read_deployment(home.store) == deployment


def test_apply_follows_an_edited_file(client: Client, home: "Home") -> None:
    before = (home.store / "deployment.json").read_text()
    document = json.loads(before)
    document["versions"]["2.0"]["batch_size"] = 3
    (home.store / "deployment.json").write_text(json.dumps(document))
    assert [asdict(c) for c in diff(client)] == [
        {
            "action": "restart",
            "version": "2.0",
            "server": "batches of 8 within 1 ms",
            "file": "batches of 3 within 1 ms",
        }
    ]
    apply(client)
    assert diff(client) == apply(client) == []
    found = find_version(client, "2.0")
    assert found is not None
    assert (found.batch_size, found.archive) == (3, "flying_objects-2.0.mar")
    del document["versions"]["2.0"]
    (home.store / "deployment.json").write_text(json.dumps(document))
    assert [(c.action, c.version) for c in apply(client)] == [("remove", "2.0")]
    (home.store / "deployment.json").write_text(before)
    assert [(c.action, c.version) for c in apply(client)] == [("register", "2.0")]
    assert served(client) == BOTH


def test_a_busy_version_is_neither_scaled_down_nor_retired(client: Client, home: "Home") -> None:
    """Held by somebody else's pause, which is as busy as a worker can be."""
    before = read_deployment(home.store)
    with (
        hold_workers(client, "2.0", 10),
        pytest.raises(WorkersBusy, match=r"couldn't be paused within .* try again"),
    ):
        retire(client, "2.0", timeout_s=0.5)
    assert (served(client), read_deployment(home.store)) == (BOTH, before)


def test_a_handler_that_cannot_hold_still_says_so(client: Client, home: "Home") -> None:
    """An archive of another handler, or packaged before ours could."""
    archive = home.store / "other.mar"
    model = {"modelName": "flying_objects", "modelVersion": "9.0", "handler": "other.py:handle"}
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model}))
        file.writestr("other.py", "def handle(data, context):\n    return [{} for _ in data or []]\n")
    client.register(archive.name)
    archive.unlink()  # TorchServe has unpacked it
    client.scale("9.0", 1)
    try:
        wait_ready(client, "9.0")
        message = r"version 9\.0 was packaged before its handler could be paused"
        with pytest.raises(FlyobjError, match=message), hold_workers(client, "9.0", 30):
            pytest.fail("it holds")
    finally:
        client.unregister("9.0")


def test_two_operators(client: Client, home: "Home") -> None:
    with (
        lock_deployment(home.store, "deploy 3.0"),
        pytest.raises(FlyobjError, match=r"is being changed: deploy 3\.0 by "),
    ):
        promote(client, "2.0", wait_s=0)
    assert served(client) == BOTH


def test_shadow_shows_where_two_versions_differ(client: Client, dataset: Path, tmp_path: Path) -> None:
    found = find_photos(dataset / "test")
    result = shadow.compare(client, "2.0", None, found)
    assert (result.version, result.against) == ("2.0", "1.0")
    assert (result.photos, len(result.flips), result.agreement) == (len(found), len(found), 0.0)
    flip = result.flips[0]
    assert (flip.photo, flip.after) == (str(found[0]), "unknown")
    assert flip.before_confidence == pytest.approx(flip.after_confidence, abs=1e-6)
    assert 0 < result.times.p50_ms <= result.times.p99_ms
    assert result.p99_ratio == result.times.p99_ms / result.times_against.p99_ms
    page = tmp_path / "pages" / "shadow.html"
    shadow.write_page(result, page)
    text = page.read_text()
    assert text.count('<img src="data:image/jpeg;base64,') == len(found)
    assert "http" not in text.replace("http-equiv", "")
    with pytest.raises(FlyobjError, match=r"agree on 0\.0000 of 8 photos, 0\.9 is required"):
        shadow.require(result, 0.9, None)
    with pytest.raises(FlyobjError, match=r"times as long as 1\.0 .* 0 is allowed"):
        shadow.require(result, None, 0)
    shadow.require(result, 0.0, 1e9)


def test_shadow_on_wrong_input(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be compared with itself"):
        shadow.compare(client, "1.0", None, [tmp_path])
    with pytest.raises(InputError, match=r"version '7\.0' isn't there or isn't ready"):
        shadow.compare(client, "7.0", None, [tmp_path])


def test_promote_only_if_they_agree(
    client: Client, home: "Home", dataset: Path, inside: Callable[..., Any]
) -> None:
    place = ("--home", home.path)
    condition = ("--if-agree", 0.5, "--data", dataset)
    said = inside("models", "promote", "2.0", *condition, *place, code=1)
    assert "agree on 0.0000 of 8 photos" in said.stderr
    assert client.default_version() == "1.0"
    said = inside("models", "promote", "2.0", "--if-agree", 0.5, *place, code=2)
    assert "need --photos or --data" in said.stderr
    inside("models", "promote", "2.0", "--if-agree", 0, "--data", dataset, *place)
    assert client.default_version() == "2.0"


@pytest.fixture
def known_to_1(client: Client, dataset: Path, tmp_path: Path) -> Path:
    """Test photos whose labels are what version 1.0 answers."""
    data = tmp_path / "known"
    for number, path in enumerate(find_photos(dataset)):
        folder = data / "test" / client.predict(path.read_bytes(), "1.0")["predicted"]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}.jpg")
    return data


def test_promote_only_if_it_is_better(
    client: Client, home: "Home", known_to_1: Path, inside: Callable[..., Any], tmp_path: Path
) -> None:
    place = ("--home", home.path, "--data", known_to_1)
    page = tmp_path / "shadow.html"
    shown = json.loads(inside("models", "shadow", "2.0", *place, "--page", page, "--json").stdout)
    found = shown["comparison"]
    assert (found["verdict"], found["all"]["gained"], found["all"]["lost"]) == ("worse", 0, 40)
    assert all(flip["lost"] and flip["truth"] == flip["before"] for flip in shown["flips"])
    assert "Version 2.0 is worse than version 1.0" in page.read_text()
    said = inside("models", "shadow", "2.0", *place).stdout
    assert said.strip().splitlines()[-1].startswith("2.0 is worse than 1.0, for ")
    refused = inside("models", "promote", "2.0", "--if-better", *place, code=1).stderr
    assert "version 2.0 is worse than version 1.0" in refused
    assert "; the default stays 1.0" in refused
    assert client.default_version() == "1.0"
    promote(client, "2.0")
    said = inside("models", "promote", "1.0", "--if-better", *place).stdout
    assert said == "version 1.0 is the default: version 1.0 is better than version 2.0\n"
    assert client.default_version() == "1.0"
    for words in (("--if-better",), ("--if-better", "--photos", known_to_1), ("--data", known_to_1)):
        inside("models", "promote", "2.0", *words, *place[:2], code=2)
    compared = inside("compare", "2.0", "1.0", *place, "--out", tmp_path / "page", code=1)
    assert "error: 2.0 is worse than 1.0" in compared.stderr
    assert (tmp_path / "page" / "comparison.html").is_file()


def test_health(client: Client, home: "Home", tmp_path: Path) -> None:
    assert health.why_not_live(home.path) is None
    assert health.why_not_ready(home.path) is None
    client.scale("1.0", 0)
    assert health.why_not_live(home.path) is None
    assert health.why_not_ready(home.path) == "none of the 0 workers of version 1.0 is ready"
    apply(client)
    assert health.why_not_ready(home.path) is None
    deployment = read_deployment(home.store)
    write_deployment(deployment.with_default("2.0"), home.store)  # a promote that was killed
    said = str(health.why_not_ready(home.path))
    assert said.startswith("version 2.0 isn't the server's default; see `flyobj models diff")
    write_deployment(Deployment(), home.store)
    assert str(health.why_not_ready(home.path)).startswith("nothing is deployed yet; `flyobj models dep")
    write_deployment(deployment, home.store)
    assert "no server runs" in str(health.why_not_live(tmp_path))
    assert "no server runs" in str(health.why_not_ready(tmp_path))


def test_a_renewed_token_is_picked_up(client: Client, home: "Home", photos: list[bytes]) -> None:
    """The one before is refused at once; a client that holds on to it reads the file again."""
    old = home.headers()
    with home.client() as other:
        other.tokens.renew("inference")
    refused = httpx.post(home.url(), content=photos[0], headers=old)
    assert (refused.status_code, refused.json()["type"]) == (400, "InvalidKeyException")
    assert client.predict(photos[0])["model_version"] == "1.0"


def test_a_class_that_vanishes_is_said_and_has_to_be_named(
    client: Client,
    home: "Home",
    inside: Callable[..., Any],
    repack: Callable[..., Path],
    known_to_1: Path,
    tmp_path: Path,
) -> None:
    def rename(text: str) -> str:
        return text.replace("Flying Birds", "Kites")

    entries = "bundle/model.json", "bundle/golden/golden.json", "index_to_name.json"
    changes: dict[str, Callable[[str], str]] = dict.fromkeys(entries, rename)
    changes["MAR-INF/MANIFEST.json"] = lambda text: text.replace('"1.0"', '"3.0"', 1)
    archive = repack(tmp_path / "flying_objects-3.0.mar", changes)
    where = "--home", home.path
    change = "version 3.0 doesn't know 'Flying Birds' and adds 'Kites', unlike 1.0"
    said = inside("models", "deploy", archive, "--workers", 1, *where).stdout
    assert f"warning: {change}\n" in said
    photos = "--photos", known_to_1, "--limit", 8
    assert f"\n{change}\n" in inside("models", "shadow", "3.0", *photos, *where).stdout
    refused = inside("models", "promote", "3.0", *where, code=2).stderr
    assert "--drop-class 'Flying Birds'" in refused
    assert client.default_version() == "1.0"
    wrong = inside("models", "promote", "3.0", "--drop-class", "Kites", *where, code=2).stderr
    assert "it loses ['Flying Birds']" in wrong
    for _ in range(2):  # also when it is the default already, as after an interruption
        inside("models", "promote", "3.0", "--drop-class", "Flying Birds", *where)
    assert client.default_version() == "3.0"
    write_deployment(replace(read_deployment(client.store), default="1.0"), client.store)
    (change_back,) = diff(client)
    assert (change_back.action, change_back.file) == ("set default", "1.0, which doesn't know 'Kites'")
    apply(client)
    retire(client, "3.0")
