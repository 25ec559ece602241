"""The command line as its users meet it: help, results, and one clear line for what is wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import cli

if TYPE_CHECKING:
    from tests.conftest import Home

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[1]


def names_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from names_of(inner, (*path, name))


COMMANDS = list(names_of(typer.main.get_command(cli.app)))


@pytest.fixture
def inside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> FlyObj:
    """Run `flyobj` in this process, which has PyTorch loaded already: ten times as fast."""

    def run(*args: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = ["flyobj", *map(str, args)]
        monkeypatch.setattr(sys, "argv", command)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        result = subprocess.CompletedProcess(command, end.value.code or 0, said.out, said.err)
        assert result.returncode == code, result
        return result

    return run


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that says what is wrong; it is the last one."""
    lines = result.stderr.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1].removeprefix("error: ")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "flyobj")
def test_help(flyobj: FlyObj, command: tuple[str, ...]) -> None:
    result = flyobj(*command, "--help")
    assert result.stderr == ""
    assert f"Usage: flyobj {' '.join(command)}".strip() in result.stdout
    said = [line for line in result.stdout.splitlines() if line.startswith(" ") and line.strip()]
    assert len(said) > 1  # the usage and what it does


def test_all_the_commands_are_there() -> None:
    assert {("train",), ("serve",), ("data", "synthesize"), ("models", "deploy")} <= set(COMMANDS)


def test_help_does_not_wait_for_pytorch() -> None:
    script = "import sys, cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"torch", "cv2", "lightning", "albumentations", "httpx", "ts"} & set(loaded)


def test_synthesize(flyobj: FlyObj, tmp_path: Path) -> None:
    result = flyobj("data", "synthesize", tmp_path / "d", "--per-class", 4, "--json")
    assert json.loads(result.stdout) == {"train": 12, "test": 4}
    again = flyobj("data", "synthesize", tmp_path / "d", code=2)
    assert "exists already" in complaint(again)
    assert again.stdout == ""


def test_prepare_report_and_train(flyobj: FlyObj, inside: FlyObj, dataset: Path, tmp_path: Path) -> None:
    """As a user does it: in two processes, then training on the folder as it is."""
    command = ("data", "prepare", dataset, "--out", tmp_path / "p", "--workers", 2)
    summary = json.loads(flyobj(*command, "--json").stdout)
    assert (summary["kept"], summary["split"]) == (40, "given")
    assert summary["dropped"] == {"not in a class folder": 1}
    assert "exists already" in complaint(inside(*command, code=2))
    shown = inside(*command, "--force").stdout
    assert "40 of 41 files kept" in shown
    assert json.loads((tmp_path / "p" / "summary.json").read_text())["classes"] == summary["classes"]
    inside("data", "report", tmp_path / "p")
    options = ("--weights", "none", "--size", 32, "--epochs", 1, "--workers", 0, "--batch-size", 8)
    inside("train", tmp_path / "p", "--out", tmp_path / "run", *options)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (sum(run["photos"].values()), run["skipped"]) == (32, [])


def test_shards(inside: FlyObj, dataset: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        command = ("data", "prepare", dataset, "--out", tmp_path / f"s{part}", "--workers", 1)
        said = json.loads(inside(*command, "--shard", f"{part}/2", "--json").stdout)
        assert 0 < said["files"] < 41
    missing = inside("data", "merge", tmp_path / "s1", "--out", tmp_path / "m", code=2)
    assert "shards missing: ['2/2']" in complaint(missing)
    inside("data", "merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "m", "--copy")
    assert len([p for p in (tmp_path / "m").rglob("*.jpg") if not p.is_symlink()]) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "can't be read (No such file or directory)"),
        (("--min-side", 0), "min_side is 0"),
        (("--near", 20), "near is 20; give a whole number from 0 to 15"),
        (("--group-regex", "("), "is no regular expression"),
        (("--test-share", 2), "test_share is 2.0"),
        (("--prune-share", 0.5), "prune_share is 0.5"),
        (("--shard", "3/2"), "shard '3/2' isn't I/N"),
    ],
)
def test_prepare_on_wrong_input(
    inside: FlyObj, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    result = inside("data", "prepare", tmp_path / "no", "--out", tmp_path / "o", *options, code=2)
    assert message in complaint(result)
    assert list(tmp_path.iterdir()) == []


def test_report_of_what_was_not_prepared(inside: FlyObj, dataset: Path) -> None:
    result = inside("data", "report", dataset, code=2)
    assert "has no summary.json; give a folder made by `flyobj data prepare`" in complaint(result)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "data/train': no such folder"),
        (lambda data: (data / "train").mkdir(parents=True), "has 0 class folder(s)"),
        (lambda data: (data / "train" / "a").mkdir(parents=True), "has 1 class folder(s) ['a']"),
    ],
    ids=["missing", "empty", "one class"],
)
def test_train_on_wrong_data(
    inside: FlyObj, tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "data")
    command = ["train", tmp_path / "data", "--out", tmp_path / "run", "--weights", "none"]
    assert message in complaint(inside(*command, code=2))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "train needs DATA and --out RUN, or --resume RUN"),
        (("photos",), "train needs DATA and --out RUN"),
        (("--resume", "no"), "'no' has no settings.json; give the run folder"),
        (("--resume", "r", "--size", 96, "--rate", 0.1), "['size'] can't be changed, only ['devices', "),
        (("photos", "--resume", "r"), "['data'] can't be changed"),
        (("photos", "--out", "r", "--mix", "cut"), "mix 'cut' must be one of none, mixup, cutmix"),
    ],
)
def test_train_with_wrong_options(inside: FlyObj, options: tuple[object, ...], message: str) -> None:
    assert message in complaint(inside("train", *options, code=2))


def test_rates_and_augmentation_can_be_looked_at(inside: FlyObj, dataset: Path, tmp_path: Path) -> None:
    options = ("--weights", "none", "--size", 32, "--epochs", 1, "--workers", 0, "--batch-size", 8)
    command = ("train", dataset, "--out", tmp_path / "run", *options, "--lr-find-only", "--json")
    found = json.loads(inside(*command).stdout)
    assert list(found["rates"]) == ["whole"]
    assert (tmp_path / "run" / "logs" / "range_test-whole.png").is_file()
    shown = inside("data", "preview", dataset, "--out", tmp_path / "p.png", "--size", 32, "--json")
    assert json.loads(shown.stdout) == {"picture": str(tmp_path / "p.png"), "photos": 8}


def test_evaluate(inside: FlyObj, run_copy: Path, dataset: Path) -> None:
    """A run keeps its evaluation, each split its own; the figures of test go into the bundle."""
    command = ("evaluate", run_copy, "--data", dataset)
    result = json.loads(inside(*command, "--json").stdout)
    assert (result["split"], result["photos"]) == ("test", 8)
    assert result == json.loads((run_copy / "evaluation" / "evaluation.json").read_text())
    figures = json.loads((run_copy / "bundle" / "metrics.json").read_text())
    assert figures["confusion"] == result["confusion"]
    assert "mistakes" not in figures
    shown = inside(*command, "--split", "train", "--group-regex", r"\d\.").stdout
    assert "accuracy" in shown
    assert (run_copy / "evaluation-train" / "report.html").is_file()
    assert json.loads((run_copy / "bundle" / "metrics.json").read_text()) == figures
    document = json.loads((run_copy / "run.json").read_text())  # as if it had been trained with groups
    document["settings"]["group_regex"] = r"(\d)\."
    (run_copy / "run.json").write_text(json.dumps(document))
    assert r"groups by (\d)\." in json.loads(inside(*command, "--json").stdout)["intervals_over"]


def test_evaluate_elsewhere(inside: FlyObj, run_copy: Path, dataset: Path, tmp_path: Path) -> None:
    command = ("evaluate", run_copy, "--data", dataset, "--out", tmp_path / "out")
    inside(*command)
    assert not (run_copy / "evaluation").exists()
    assert "exists already; name another folder, or give --force" in complaint(inside(*command, code=2))
    said = inside("evaluate", run_copy / "bundle", "--data", dataset).stdout
    assert "--out DIR draws a report" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "nothing"), "nothing': no such folder"),
        (("--group-regex", "("), "is no regular expression"),
        (("--group-regex", "clip"), "finds nothing in any file name"),
        (("--unknown", "nowhere"), "has no readable photo"),
        (("--against", "nowhere"), "is nothing to evaluate"),
        (("--out", __file__), "is a file; name a folder"),
    ],
)
def test_evaluate_on_wrong_input(
    inside: FlyObj, run_copy: Path, dataset: Path, options: tuple[str, ...], message: str
) -> None:
    result = inside("evaluate", run_copy, "--data", dataset, *options, code=2)
    assert message in complaint(result)
    assert not (run_copy / "evaluation").exists()


def test_calibrate(inside: FlyObj, run_copy: Path) -> None:
    shown = inside("calibrate", run_copy, "--reject-rate", 0.25).stdout
    assert "fewer than 100" in shown
    assert "1 of the validation photos" in shown
    result = json.loads(inside("calibrate", run_copy, "--json").stdout)
    assert (result["photos"], result["reject_below"]) == (4, None)


def test_archive_of_a_bundle_with_an_unknown_key(inside: FlyObj, run_copy: Path, tmp_path: Path) -> None:
    path = run_copy / "bundle" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    command = ["archive", run_copy, "--version", "1.0", "--model-store", tmp_path / "store"]
    assert "unknown keys ['colour']" in complaint(inside(*command, code=2))
    assert not (tmp_path / "store").exists()


def test_archive_of_a_version_that_exists(inside: FlyObj, run: Path, archive_path: Path) -> None:
    before = archive_path.stat()
    command = ["archive", run, "--version", "1.0", "--model-store", archive_path.parent]
    assert "exists already" in complaint(inside(*command, code=2))
    assert archive_path.stat() == before


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
def test_no_server_runs(inside: FlyObj, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = inside(*command, "--home", tmp_path, code=2)
    assert "start one with `flyobj serve --detach" in complaint(result)


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
    shown = flyobj("predict", photos[0], *home, "--version", "1.0").stdout
    assert f"{answers[0]['confidence']:.3f}" in shown


def test_predict_on_what_is_no_photo(
    inside: FlyObj, server: "Home", dataset: Path, tmp_path: Path
) -> None:
    text, photo = tmp_path / "notes.jpg", next((dataset / "test").rglob("*.jpg"))
    text.write_text("words")
    result = inside("predict", text, photo, "--home", server.path, "--json", code=2)
    assert "1 of 2 photos" in complaint(result)
    bad, good = json.loads(result.stdout)
    assert "is no photo; send one of JPEG" in bad["error"]
    assert good["predicted"] in good["probabilities"]


def test_predict_on_a_missing_file(inside: FlyObj, tmp_path: Path) -> None:
    result = inside("predict", tmp_path / "no.jpg", "--home", tmp_path, code=2)
    assert "no such file" in complaint(result)


def test_deploy_what_is_no_archive(inside: FlyObj, server: "Home", tmp_path: Path) -> None:
    path = tmp_path / "a.mar"
    path.write_text("words")
    result = inside("models", "deploy", path, "--home", server.path, code=2)
    assert "a.mar' is no archive of ours" in complaint(result)


def test_deploy_what_is_deployed(inside: FlyObj, server: "Home", archive_path: Path) -> None:
    result = inside("models", "deploy", archive_path, "--home", server.path)
    assert "version 1.0 is ready with 2 workers" in result.stdout


def test_looking_at_versions(inside: FlyObj, server: "Home") -> None:
    place = ("--home", server.path, "--json")
    shown = json.loads(inside("models", "show", "1.0", *place).stdout)
    assert (shown["version"], shown["model"]["input_size"]) == ("1.0", 64)
    assert json.loads(inside("models", "diff", *place).stdout) == []
    assert json.loads(inside("models", "apply", *place).stdout) == []
    first = json.loads(inside("models", "history", *place).stdout)[0]
    assert (first["operation"], first["version"], first["outcome"]) == ("deploy", "1.0", "done")
    missing = inside("models", "show", "7.0", "--home", server.path, code=2)
    assert "version '7.0' isn't on the server" in complaint(missing)


def test_probes(inside: FlyObj, server: "Home", tmp_path: Path) -> None:
    for probe in ("--live", "--ready"):
        assert inside("status", probe, "--home", server.path).stdout == ""
        assert "no server runs" in complaint(inside("status", probe, "--home", tmp_path, code=1))


def test_promote_what_is_not_deployed(inside: FlyObj, server: "Home") -> None:
    result = inside("models", "promote", "7.0", "--home", server.path, code=2)
    assert "version '7.0' isn't deployed" in complaint(result)


def test_serve_on_a_port_in_use(inside: FlyObj, server: "Home", tmp_path: Path) -> None:
    places = ("--home", tmp_path / "home", "--model-store", tmp_path / "store")
    result = inside("serve", "--detach", "--port", server.port, *places, code=2)
    assert f"port {server.port} (for inference) is in use by 'java'" in complaint(result)
    assert list(tmp_path.iterdir()) == []


def test_serve_detached_and_stop(
    flyobj: FlyObj, inside: FlyObj, new_home: Callable[[str], "Home"]
) -> None:
    home = new_home("detached")
    places = ("--home", home.path, "--model-store", home.store)
    document = json.loads(flyobj("serve", "--detach", "--port", home.port, *places, "--json").stdout)
    assert (document["port"], document["versions"]) == (home.port, [])
    assert home.path.is_dir()
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
            assert 1700 < client.token_lasts_s("inference") <= 1800
        process.terminate()
        assert process.wait(60) == 0
    assert not (home.path / "server.json").exists()


def test_serve_refuses_a_store_that_it_cannot_bring_back(
    inside: FlyObj, new_home: Callable[[str], "Home"], server: "Home"
) -> None:
    home = new_home("lost")
    home.store.mkdir()
    shutil.copy(server.store / "deployment.json", home.store)
    places = ("--home", home.path, "--model-store", home.store)
    result = inside("serve", "--detach", "--port", home.port, *places, code=2)
    assert "flying_objects-1.0.mar': no such file" in complaint(result)
    assert not (home.path / "server.json").exists()  # and the server is ended


@pytest.mark.parametrize("bad", [("train", "--size", "big"), ("nonsense",), ("serve", "--port", "many")])
def test_wrong_usage(flyobj: FlyObj, bad: tuple[str, ...]) -> None:
    result = flyobj(*bad, code=2)
    assert result.stdout == ""
    assert "Usage: flyobj" in result.stderr
