"""What SECURITY.md says of TorchServe's jar is in the jar; and a file of weights is only read."""

import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import ts

from model.errors import InputError
from model.network import Network, load_pretrained
from serving.stock import ROOT
from training.fit import checkpoint

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_the_versions_in_the_jar() -> None:
    """Each library tells its version in another way."""
    with zipfile.ZipFile(Path(ts.__file__).parent / "frontend" / "model-server.jar") as jar:

        def find(name: str, pattern: bytes) -> str:
            found = re.search(pattern, jar.read(name))
            assert found, name
            return found[1].decode()

        versions = {
            "Netty": find("META-INF/io.netty.versions.properties", rb"netty-codec-http\.version=(\S+)"),
            "gRPC": find("io/grpc/internal/GrpcUtil.class", rb"(1\.[0-9]+\.[0-9]+)"),
            "Gson": find("com/google/gson/internal/GsonBuildConfig.class", rb"(2\.[0-9]+\.[0-9]+)"),
            "Log4j": find("META-INF/DEPENDENCIES", rb"log4j-core:jar:([0-9.]+)"),
            "SLF4J": find("META-INF/DEPENDENCIES", rb"slf4j-api:jar:([0-9.]+)"),
            "Groovy": find("META-INF/groovy-release-info.properties", rb"BundleVersion=(\S+)"),
        }
        netty = jar.getinfo("io/netty/handler/codec/http/HttpObjectDecoder.class").date_time
        shaded = "io/grpc/netty/shaded/io/netty/handler/codec/http/HttpObjectDecoder.class"
        in_grpc = jar.getinfo(shaded).date_time
    for name, version in versions.items():
        assert f"{name} {version}" in TEXT, (name, version)
    assert netty[:2] == (2020, 10)
    assert in_grpc[:2] == (2022, 7)


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(((?!http)[^)#]+)", TEXT):
        assert (ROOT / link).exists(), link


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> object:
        return Path.touch, (self.sprung,)


@pytest.mark.parametrize("place", ["weights.pth", "checkpoints/last.ckpt"])
def test_a_file_of_weights_runs_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    torch.save({"features.0.0.weight": Trap(tmp_path / "sprung")}, tmp_path / place)
    read: Callable[[], object] = partial(checkpoint.load, tmp_path, ("a", "b"))
    if place == "weights.pth":
        read = partial(load_pretrained, Network(2), str(tmp_path / place))
    with pytest.raises(InputError, match=r"can't be read as a PyTorch|isn't a checkpoint"):
        read()
    assert not (tmp_path / "sprung").exists()
