"""A server's commands as their users meet them: results, and one clear line for what is wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.rollout.default_workers import workers_for

if TYPE_CHECKING:
    from tests.conftest import Home

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Complaint = Callable[[subprocess.CompletedProcess[str]], str]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("token",),
        ("models", "list"),
        ("models", "promote", "1.0"),
        ("models", "deploy", "a.mar"),
        ("models", "rollback"),
        ("models", "scale", "1.0", "1"),
        ("models", "retire", "1.0"),
        ("models", "diff"),
        ("models", "history"),
        ("models", "shadow", "1.0", "--photos", "."),
        ("canary", "start", "1.0"),
        ("predict", __file__),
    ],
    ids=" ".join,
)
def test_no_server_runs(
    inside: FlyObj, complaint: Complaint, tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = inside(*command, "--home", tmp_path, code=2)
    assert "start one with `flyobj serve --detach" in complaint(result)


def test_no_tokens_needs_a_word_on_who_reaches_the_ports(
    inside: FlyObj, complaint: Complaint, tmp_path: Path
) -> None:
    result = inside("serve", "--no-tokens", "--home", tmp_path / "home", code=2)
    assert "every web page open in this machine's browser" in complaint(result)
    assert "add --private-ports if only a gate" in complaint(result)
    assert not (tmp_path / "home").exists()


def test_stop_without_a_server_is_no_error(inside: FlyObj, tmp_path: Path) -> None:
    assert "no server ran" in inside("stop", "--home", tmp_path).stdout


def test_status_and_models_list(inside: FlyObj, server: "Home") -> None:
    status = json.loads(inside("status", "--home", server.path, "--json").stdout)
    versions = json.loads(inside("models", "list", "--home", server.path, "--json").stdout)
    assert status["versions"] == versions
    (version,) = versions
    assert (version["version"], version["default"]) == ("1.0", True)
    assert version["ready"] == version["workers"] > 0
    assert status["port"] == server.port
    assert len(status["memory_mib"]) == 1 + version["workers"]
    assert all(0 < seconds <= 3600 for seconds in status["tokens_last_s"].values())
    table = inside("models", "list", "--home", server.path).stdout
    assert "1.0" in table
    assert "yes" in table


def test_token(inside: FlyObj, server: "Home") -> None:
    keys = json.loads((server.path / "key_file.json").read_text())
    result = inside("token", "--home", server.path)
    assert (result.stdout, result.stderr) == (keys["inference"]["key"] + "\n", "")


def test_predict(flyobj: FlyObj, server: "Home", dataset: Path) -> None:
    photos = sorted((dataset / "test").rglob("*.jpg"))[:2]
    home = ("--home", server.path)
    answers = json.loads(flyobj("predict", *photos, *home, "--json").stdout)
    assert [answer["photo"] for answer in answers] == [str(photo) for photo in photos]
    for answer in answers:
        assert answer["confidence"] == answer["probabilities"][answer["predicted"]]
        assert list(answer)[1:] == [
            "predicted",
            "confidence",
            "novelty",
            "probabilities",
            "model_version",
        ]
    shown = flyobj("predict", photos[0], *home, "--version", "1.0").stdout
    assert f"{answers[0]['confidence']:.3f}" in shown


def test_predict_a_folder(
    inside: FlyObj,
    complaint: Complaint,
    server: "Home",
    archive_path: Path,
    dataset: Path,
    tmp_path: Path,
) -> None:
    """By the server as by its archive, without one: rows of the one are continued by the other."""
    folder, out = shutil.copytree(dataset / "test", tmp_path / "photos"), tmp_path / "out.csv"
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "large.jpg").write_bytes(bytes(21 * 2**20))  # the server would just hang up
    by_server = ("--home", server.path, "--csv", out)
    said = inside("predict", folder, *by_server).stdout
    assert "10 photos in" in said
    assert "2 can't be answered" in said
    lines = out.read_text().splitlines(keepends=True)
    assert "the photo has 22020096 bytes, 20971520 are allowed" in "".join(lines)
    out.write_text("".join(lines[:5]))
    inside("predict", folder, "--archive", archive_path, "--csv", out)
    assert [line.split(",")[:2] for line in out.read_text().splitlines()] == [
        line.split(",")[:2] for line in lines
    ]
    assert "10 of 10 photos are answered already" in inside("predict", folder, *by_server).stderr
    wrong = inside("predict", folder, "--home", server.path, "--version", "7.0", code=2)
    assert "version '7.0' isn't on the server" in complaint(wrong)


def test_predict_on_what_is_no_photo(
    inside: FlyObj, complaint: Complaint, server: "Home", dataset: Path, tmp_path: Path
) -> None:
    text, photo = tmp_path / "notes.jpg", next((dataset / "test").rglob("*.jpg"))
    text.write_text("words")
    result = inside("predict", text, photo, "--home", server.path, "--json", code=2)
    assert "1 of 2 photos" in complaint(result)
    bad, good = json.loads(result.stdout)
    assert "is no photo; send one of JPEG" in bad["error"]
    assert good["predicted"] in good["probabilities"]


def test_predict_on_a_missing_file(inside: FlyObj, complaint: Complaint, tmp_path: Path) -> None:
    result = inside("predict", tmp_path / "no.jpg", "--home", tmp_path, code=2)
    assert "no such file" in complaint(result)


def test_deploy_what_is_no_archive(
    inside: FlyObj, complaint: Complaint, server: "Home", tmp_path: Path
) -> None:
    path = tmp_path / "a.mar"
    path.write_text("words")
    result = inside("models", "deploy", path, "--home", server.path, code=2)
    assert "a.mar' isn't a valid archive" in complaint(result)


def test_deploy_what_is_deployed(
    inside: FlyObj, server: "Home", archive_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name in the store; then each command that is said to come next, as it is pasted."""
    result = inside("models", "deploy", archive_path.name, "--home", server.path)
    with server.client() as client:
        workers = workers_for(client.server)  # nobody has said a number
    assert f"version 1.0 is ready with {workers} workers" in result.stdout
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    typed = [line[6:] for line in result.stdout.splitlines() if line[:6] in ("next: ", "  or: ")]
    predict, page, curl = typed
    assert page == f"flyobj page --home {server.path}"
    said = [
        subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
        for line in (f"{predict} --json", curl)
    ]
    assert json.loads(said[0])[0]["probabilities"] == pytest.approx(
        json.loads(said[1])["probabilities"], abs=1e-3
    )


def test_deploy_says_what_is_in_the_store(
    inside: FlyObj, complaint: Complaint, server: "Home", as_version: Callable[[Path, str], Path]
) -> None:
    alone = inside("models", "deploy", "--home", server.path, code=2)
    assert complaint(alone).startswith("all of them are deployed")
    new = as_version(server.store, "77.0")
    listed = inside("models", "deploy", "--home", server.path, code=2)
    assert "flying_objects-1.0.mar" in listed.stdout
    assert complaint(listed) == (
        f"say which archive to deploy, such as `flyobj models deploy {new} --home {server.path}`"
    )
    new.unlink()
    wrong = inside("models", "deploy", "flying_object-1.0.mar", "--home", server.path, code=2)
    assert "did you mean 'flying_objects-1.0.mar'?" in complaint(wrong)


def test_looking_at_versions(inside: FlyObj, complaint: Complaint, server: "Home") -> None:
    place = ("--home", server.path, "--json")
    shown = json.loads(inside("models", "show", "1.0", *place).stdout)
    assert (shown["version"], shown["model"]["input_size"]) == ("1.0", 64)
    assert json.loads(inside("models", "diff", *place).stdout) == []
    assert json.loads(inside("models", "apply", *place).stdout) == []
    first = json.loads(inside("models", "history", *place).stdout)[0]
    assert (first["operation"], first["version"], first["outcome"]) == ("deploy", "1.0", "done")
    missing = inside("models", "show", "7.0", "--home", server.path, code=2)
    assert "version '7.0' isn't on the server" in complaint(missing)


def test_probes(inside: FlyObj, complaint: Complaint, server: "Home", tmp_path: Path) -> None:
    for probe in ("--live", "--ready"):
        assert inside("status", probe, "--home", server.path).stdout == ""
        assert "no server runs" in complaint(inside("status", probe, "--home", tmp_path, code=1))


def test_promote_what_is_not_deployed(inside: FlyObj, complaint: Complaint, server: "Home") -> None:
    result = inside("models", "promote", "7.0", "--home", server.path, code=2)
    assert "version '7.0' isn't deployed" in complaint(result)


def test_rollback_goes_back_to_the_default_before(
    inside: FlyObj, server: "Home", as_version: Callable[[Path, str], Path]
) -> None:
    place, new = ("--home", server.path), as_version(server.store, "2.0")
    inside("models", "deploy", new, "--workers", 1, *place)
    inside("models", "promote", "2.0", *place)
    with server.client() as client:
        assert client.default_version() == "2.0"
        said = inside("models", "rollback", *place).stdout
        assert (said, client.default_version()) == ("version 1.0 is the default again\n", "1.0")
    inside("models", "retire", "2.0", *place)
    new.unlink()


def test_shadow_takes_photos_or_data(
    inside: FlyObj, complaint: Complaint, server: "Home", dataset: Path
) -> None:
    command = ("models", "shadow", "1.0", "--home", server.path)
    for options in ((), ("--photos", dataset, "--data", dataset)):
        said = complaint(inside(*command, *options, code=2))
        assert said == "give either --photos DIR or --data DIR"


def test_serve_on_a_port_in_use(
    inside: FlyObj, complaint: Complaint, server: "Home", tmp_path: Path
) -> None:
    places = ("--home", tmp_path / "home", "--model-store", tmp_path / "store")
    result = inside("serve", "--detach", "--port", server.port, *places, code=2)
    said = complaint(result)
    assert f"has ports {server.port} to {server.port + 4}" in said
    assert f"`flyobj stop --home {server.path}`" in said
    assert list(tmp_path.iterdir()) == []


def test_serve_detached_and_stop(
    flyobj: FlyObj, inside: FlyObj, complaint: Complaint, new_home: Callable[[str], "Home"]
) -> None:
    home = new_home("detached")
    places = ("--home", home.path, "--model-store", home.store)
    document = json.loads(flyobj("serve", "--detach", "--port", home.port, *places, "--json").stdout)
    assert (document["port"], document["versions"]) == (home.port, [])
    assert home.path.is_dir()
    empty = complaint(inside("models", "deploy", "--home", home.path, code=2))
    assert empty == f"the model store {str(home.store)!r} holds no archive yet"
    nothing = complaint(inside("loadtest", "--home", home.path, code=2))
    assert nothing == f"nothing is deployed yet; `flyobj models deploy --home {home.path}`"
    assert "stopped" in inside("stop", "--home", home.path).stdout
    assert not (home.path / "server.json").exists()


def test_serve_in_the_foreground_until_sigterm(
    new_home: Callable[[str], "Home"], tmp_path: Path
) -> None:
    """As systemd runs it, with settings of one's own."""
    home = new_home("foreground")
    config = tmp_path / "mine.properties"
    config.write_text((ROOT / "config.properties").read_text() + "\ntoken_expiration_min=30\n")
    places = ["--home", str(home.path), "--model-store", str(home.store), "--port", str(home.port)]
    command = [str(Path(sys.executable).with_name("flyobj")), "serve", *places, "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert "nothing deployed yet" in process.stdout.readline()
        with home.client() as client:
            assert 1700 < client.tokens.seconds_left("inference") <= 1800
        process.terminate()
        assert process.wait(60) == 0
    assert not (home.path / "server.json").exists()


def test_serve_refuses_a_store_that_it_cannot_bring_back(
    inside: FlyObj, complaint: Complaint, new_home: Callable[[str], "Home"], server: "Home"
) -> None:
    home = new_home("lost")
    home.store.mkdir()
    shutil.copy(server.store / "deployment.json", home.store)
    places = ("--home", home.path, "--model-store", home.store)
    result = inside("serve", "--detach", "--port", home.port, *places, code=2)
    assert "flying_objects-1.0.mar': no such file" in complaint(result)
    assert not (home.path / "server.json").exists()  # and the server is ended
