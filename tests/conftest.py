"""Photos, a trained run, an archive and a real TorchServe, each made once a session.

Helpers are fixtures, so that a test file needs nothing but their names.
"""

import io
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; subprocesses inherit it

import boto3
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import mobilenet_v2

from model.preprocessing import Preprocessing
from serving.archive.build import build_archive
from serving.rollout.operations import deploy
from serving.rollout.reconcile import reconcile
from serving.server import lifecycle
from serving.server.client import Client
from training.data.photos import read_split
from training.data.synthetic.draw import synthesize
from training.fit.transforms import Normalize
from training.fit.transforms import test_transform as eval_transform

with warnings.catch_warnings(action="ignore", category=ResourceWarning):
    import ts  # noqa: F401  # leaves its version.txt open

SIZE = 64

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
MakeHome = Callable[[str], "Home"]


class Home:
    """A server's home, port and store; the server may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"
        self.store = folder / "store"
        self.port = free_ports()

    def start(self) -> lifecycle.Server:
        """Start it on two cores, as many as it has workers then, however many this machine has."""
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(cores)[:2])
        try:
            return lifecycle.start(self.path, self.port, self.store)
        finally:
            os.sched_setaffinity(0, cores)

    def stop(self) -> bool:
        return lifecycle.stop(self.path)

    def restart(self) -> None:
        """Stop, start and bring back what was deployed, as `flyobj stop` and `flyobj serve` do."""
        self.stop()
        with Client(self.start()) as client:
            reconcile(client)

    def client(self) -> Client:
        return Client(lifecycle.require(self.path))

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/predictions/flying_objects{path}"

    def headers(self) -> dict[str, str]:
        with self.client() as client:
            return {"Authorization": f"Bearer {client.tokens.get('inference')}"}


@dataclass(frozen=True)
class Bucket:
    """A bucket on a server of our own, and a client to look into it."""

    name: str
    client: Any

    def url(self, key: str = "") -> str:
        return f"s3://{self.name}/{key}"

    def head(self, key: str) -> dict[str, Any]:
        place = {"Bucket": self.name, "Key": key}
        return dict(self.client.head_object(**place, ChecksumMode="ENABLED"))

    def put(self, key: str, content: bytes, sha256: str) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content, Metadata={"sha256": sha256})


def free_ports(n: int = 5) -> int:
    """Find `n` consecutive ports that nobody listens on; return the first."""
    for first in random.SystemRandom().sample(range(20_000, 32_000, n), 100):
        with ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError("no free ports")


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def flyobj(tmp_path_factory: pytest.TempPathFactory) -> FlyObj:
    """Run `flyobj` as a user would: in a process and a folder of its own."""
    folder = tmp_path_factory.mktemp("cwd")

    def run(*args: object, code: int = 0, cwd: Path = folder) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("flyobj")), *map(str, args)]
        result = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=200, check=False
        )
        assert result.returncode == code, f"{command}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        return result

    return run


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """Make a small JPEG of random blocks; the same seed gives the same bytes."""

    def make(seed: int = 0, width: int = 64, height: int = 48, **options: object) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        return file.getvalue()

    return make


@pytest.fixture
def photo_folder(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """Make a data folder: `photo_folder(train={"a": 3, "b": 2})` has five photos in two classes."""

    def make(**splits: Mapping[str, int]) -> Path:
        data = tmp_path / "data"
        seed = 0
        for split, classes in splits.items():
            for name, count in classes.items():
                folder = data / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    seed += 1
                    (folder / f"{number}.jpg").write_bytes(jpeg(seed))
        return data

    return make


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-in photos of four classes: 8 of each to train on, 2 to test on."""
    out = tmp_path_factory.mktemp("dataset") / "photos"
    synthesize(out, 10, seed=0, workers=1)
    return out


@pytest.fixture(scope="session")
def weights_file(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of torchvision's mobilenet_v2 whose features differ from photo to photo.

    The weights are random; without the batch-norm statistics of real photos such a network answers
    every photo alike, and no test could tell a right pixel from a wrong one.
    """
    torch.manual_seed(0)
    network = mobilenet_v2(weights=None)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # a plain average
    transform = eval_transform(Preprocessing(SIZE))
    photos = [transform(np.asarray(Image.open(p.path)), 0) for p in read_split(dataset, "train").photos]
    batch = Normalize(Preprocessing(SIZE))(torch.from_numpy(np.stack(photos)))
    with torch.no_grad():
        for _ in range(2):
            network(batch)
    path = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def run(
    dataset: Path, weights_file: Path, flyobj: FlyObj, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A training run of one epoch in each stage. Read only: copy it to change it."""
    out = tmp_path_factory.mktemp("run") / "run"
    options = {"--out": out, "--weights": weights_file, "--size": SIZE, "--epochs": 2}
    options |= {"--workers": 0, "--batch-size": 8, "--lr": 0.003}
    flyobj("train", dataset, *(word for pair in options.items() for word in pair))
    return out


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    """A run to spoil."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture(scope="session")
def archive_path(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the run as version 1.0, with the engine that answers exactly. Read only."""
    return build_archive(run, "1.0", tmp_path_factory.mktemp("archives"), "torch")


@pytest.fixture(scope="session")
def openvino_archive(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the run as version 9.0, with OpenVINO's graph. Read only."""
    return build_archive(run, "9.0", tmp_path_factory.mktemp("openvino"), "openvino")


@pytest.fixture(scope="session")
def repack(archive_path: Path) -> Callable[..., Path]:
    """Copy the archive with entries changed: `repack(target, {name: change})`.

    `change` gets the entry's text and returns another, or is None to leave the entry out.
    """

    def make(target: Path, changes: Mapping[str, Callable[[str], str] | None]) -> Path:
        left = set(changes)
        with zipfile.ZipFile(archive_path) as old, zipfile.ZipFile(target, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name in changes:
                    left.remove(name)
                    if (change := changes[name]) is None:
                        continue
                    changed = change(content.decode()).encode()
                    assert changed != content, f"the change of {name} changes nothing"
                    content = changed
                new.writestr(name, content)
        assert not left, f"not in the archive: {left}"
        return target

    return make


@pytest.fixture(scope="session")
def as_version(repack: Callable[..., Path]) -> Callable[[Path, str], Path]:
    """Copy the archive under another version."""

    def make(folder: Path, version: str) -> Path:
        manifest = {"MAR-INF/MANIFEST.json": lambda text: text.replace('"1.0"', f'"{version}"', 1)}
        return repack(folder / f"flying_objects-{version}.mar", manifest)

    return make


@pytest.fixture
def free_port() -> int:
    """The first of five ports that are free."""
    return free_ports()


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeHome]:
    """Make homes with free ports; servers that still run are stopped at the end."""
    with ExitStack() as stack:

        def make(name: str) -> Home:
            home = Home(tmp_path_factory.mktemp(name))
            stack.callback(home.stop)
            return home

        yield make


@pytest.fixture(scope="session")
def server(new_home: MakeHome, archive_path: Path) -> Home:
    """A real TorchServe with version 1.0. A test that changes its versions puts them back."""
    home = new_home("server")
    home.start()
    with home.client() as client:
        deploy(client, archive_path)
    return home


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Moto's S3 and IAM in a process of their own; returns the address."""
    port = free_ports(1)
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while not listens(port):
                assert process.poll() is None, "moto_server ended"
                assert time.monotonic() < until, "moto_server doesn't listen"
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Bucket"]:
    """An empty bucket, reached as users do, by environment variables; child processes inherit them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    values = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    values |= {"CONFIG_FILE": "/dev/null", "SHARED_CREDENTIALS_FILE": "/dev/null"}
    values |= {"EC2_METADATA_DISABLED": "true", "DEFAULT_REGION": "us-east-1"}
    for name, value in values.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with closing(boto3.client("s3")) as client:
        name = f"test-{tmp_path.name.lower().replace('_', '-')[-50:]}"
        client.create_bucket(Bucket=name)
        yield Bucket(name, client)


@pytest.fixture(scope="session")
def photos(dataset: Path) -> list[bytes]:
    """Every test photo of the data set."""
    return [path.read_bytes() for path in sorted((dataset / "test").rglob("*.jpg"))]
