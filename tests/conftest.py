"""Photos, a trained run, an archive and a real TorchServe, each made once a session.

Tests run in two processes. Files that take long to make and that nobody changes are made once for both
(`once`); a server is each process's own. What a test needs beside Python is in its markers, which come
from its fixtures (`MARKERS`): `pytest -m "not server"`.
"""

import io
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; subprocesses inherit it

import boto3
import hypothesis
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from torch import nn
from torchvision.models import mobilenet_v2

import cli
from model.preprocessing import Preprocessing
from serving.archive.build import build_archive
from serving.rollout.operations import deploy
from tests.helpers.servers import Bucket, Home, MakeHome, free_ports, wait_until_listening
from tests.helpers.tools import find_tool
from training.data.photos import read_split
from training.data.synthetic.draw import synthesize
from training.fit.transforms import Normalize
from training.fit.transforms import test_transform as eval_transform

with warnings.catch_warnings(action="ignore", category=ResourceWarning):
    import ts  # noqa: F401  # leaves its version.txt open

for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]  # what is asked here is on this machine
os.environ.pop("FLYOBJ_HOME", None)
# A machine may pause for longer than any deadline for one example.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("here")

SIZE = 64

FlyObj = Callable[..., subprocess.CompletedProcess[str]]
Once = Callable[[str, Callable[[Path], object]], Path]

# A test that uses one of these fixtures, through others too, has the marker.
MARKERS = {
    "server": {"new_home", "fleet", "torchserve"},
    "browser": {"chromium"},
    "nginx": {"nginx"},
    "prometheus": {"prometheus_tools"},
    "s3": {"s3_server"},
    "netns": {"netns"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs."""
    for item in items:
        for marker, fixtures in MARKERS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers of whoever runs the tests are none of the tests', and theirs none of that user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Sums depend on the number of PyTorch's threads: what a test sets isn't for those after it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """Make a folder once, whichever process needs it first: `once(name, make)` calls `make(folder)`."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder = base / f"once-{name}"
        with FileLock(f"{folder}.lock"):
            if not (folder / ".made").exists():
                folder.mkdir()
                make(folder)
                (folder / ".made").touch()
        return folder

    return get


def _tool(name: str, package: str) -> str:
    """Find a program that isn't ours to install, or skip the test."""
    return find_tool(name) or pytest.skip(f"{name} isn't installed (Debian: {package})")


@pytest.fixture(scope="session")
def torchserve() -> None:
    """For tests that start TorchServe by themselves."""


@pytest.fixture(scope="session")
def nginx() -> str:
    """The stock nginx."""
    return _tool("nginx", "nginx-light")


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser without a window."""
    return _tool("chromium", "chromium")


@pytest.fixture(scope="session")
def prometheus_tools() -> str:
    """Prometheus, and promtool beside it."""
    return _tool("promtool", "prometheus") and _tool("prometheus", "prometheus")


@pytest.fixture(scope="session")
def netns() -> None:
    """Network namespaces, for hosts on this machine."""
    if os.geteuid() or not Path("/dev/net/tun").exists():
        pytest.skip("network namespaces need root and /dev/net/tun")
    name = f"flyobj-{os.getpid()}"
    if subprocess.run([_tool("ip", "iproute2"), "netns", "add", name], check=False).returncode:
        pytest.skip("network namespaces can't be made here")
    subprocess.run(["ip", "netns", "delete", name], check=True)


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
def dataset(once: Once) -> Path:
    """Stand-in photos of four classes: 8 of each to train on, 2 to test on."""
    return (
        once("dataset", lambda folder: synthesize(folder / "photos", 10, seed=0, workers=1)) / "photos"
    )


@pytest.fixture(scope="session")
def weights_file(dataset: Path, once: Once) -> Path:
    """A state dict of torchvision's mobilenet_v2 whose features differ from photo to photo.

    The weights are random; without the batch-norm statistics of real photos such a network answers
    every photo alike, and no test could tell a right pixel from a wrong one.
    """

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        network = mobilenet_v2(weights=None)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # a plain average
        transform = eval_transform(Preprocessing(SIZE))
        photos = [
            transform(np.asarray(Image.open(p.path)), 0) for p in read_split(dataset, "train").photos
        ]
        batch = Normalize(Preprocessing(SIZE))(torch.from_numpy(np.stack(photos)))
        with torch.no_grad():
            for _ in range(2):
                network(batch)
        torch.save(network.state_dict(), folder / "mobilenet_v2.pt")

    return once("weights", make) / "mobilenet_v2.pt"


@pytest.fixture(scope="session")
def run(dataset: Path, weights_file: Path, flyobj: FlyObj, once: Once) -> Path:
    """A training run of one epoch in each stage. Read only: copy it to change it."""

    def make(folder: Path) -> None:
        options = {"--out": folder / "run", "--weights": weights_file, "--size": SIZE, "--epochs": 2}
        options |= {"--workers": 0, "--batch-size": 8, "--lr": 0.003}
        flyobj("train", dataset, *(word for pair in options.items() for word in pair))

    return once("run", make) / "run"


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    """A run to spoil."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture(scope="session")
def archive_path(run: Path, once: Once) -> Path:
    """The archive of the run as version 1.0, with OpenVINO's graph. Read only."""
    folder = once("archive", lambda folder: build_archive(run, "1.0", folder, "openvino"))
    return folder / "flying_objects-1.0.mar"


@pytest.fixture(scope="session")
def torch_archive(run: Path, once: Once) -> Path:
    """The archive of the run as version 9.0, without a graph, so that PyTorch answers. Read only."""
    folder = once("torch", lambda folder: build_archive(run, "9.0", folder, "torch"))
    return folder / "flying_objects-9.0.mar"


@pytest.fixture(scope="session")
def repack(archive_path: Path) -> Callable[..., Path]:
    """Copy the archive with entries changed: `repack(target, {name: change})`.

    `change` gets the entry's text and returns another, or is None to leave the entry out. Another
    archive may be given as `source`.
    """

    def make(
        target: Path, changes: Mapping[str, Callable[[str], str] | None], source: Path = archive_path
    ) -> Path:
        left = set(changes)
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
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
    """Make homes with free ports; servers that still run are stopped at the end, all at once."""
    homes: list[Home] = []

    def make(name: str) -> Home:
        homes.append(Home(tmp_path_factory.mktemp(name)))
        return homes[-1]

    yield make
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Home.stop, homes))


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
            wait_until_listening(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
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
