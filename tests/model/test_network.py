"""The network and where its weights come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2, resnet18

from model.bundle import ARCHITECTURES
from model.errors import InputError
from model.network import Network, load_pretrained


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(3)


@pytest.mark.parametrize("head", ARCHITECTURES)
@pytest.mark.parametrize("n_classes", [2, 7])
def test_answers_are_log_probabilities(n_classes: int, head: str) -> None:
    network = Network(n_classes, head).eval()
    photos = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        answers, (same, features, maps) = network(photos), network.outputs(photos)
        torch.testing.assert_close(network.head(features), answers)
    assert answers.shape == (4, n_classes) == (4, network.n_classes)
    torch.testing.assert_close(answers.exp().sum(1), torch.ones(4))
    assert torch.equal(same, answers)
    torch.testing.assert_close(network.pool(maps), features)


def test_the_linear_head_is_torchvisions() -> None:
    """One layer on the pooled features, so that a network of theirs can be loaded."""
    torch.manual_seed(0)
    network, theirs = Network(3, "linear").eval(), mobilenet_v2(num_classes=3).eval()
    network.features.load_state_dict(theirs.features.state_dict())
    network.head.load_state_dict(theirs.classifier.state_dict())
    photos = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(photos), theirs(photos).log_softmax(1))


def test_features_are_torchvisions(weights_file: Path) -> None:
    state = torch.load(weights_file, weights_only=True)
    network = Network(3)
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    load_pretrained(network, str(weights_file))
    theirs = mobilenet_v2(weights=None)
    theirs.load_state_dict(state)
    photos = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network.eval().features(photos), theirs.eval().features(photos))
    for name, value in network.features.state_dict().items():
        assert torch.equal(value, state[f"features.{name}"]), name
    for name, value in network.head.state_dict().items():
        assert torch.equal(value, head[name]), name


def test_none_changes_nothing(network: Network) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_pretrained(network, "none")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def save_text(path: Path) -> None:
    path.write_text("no weights at all")


def save_other_network(path: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), path)


def save_other_shapes(path: Path) -> None:
    torch.save(mobilenet_v2(weights=None, width_mult=0.5).state_dict(), path)


def save_list(path: Path) -> None:
    torch.save([torch.zeros(2)], path)


def save_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 3}, path)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (save_text, r"can't be read as a PyTorch state dict .*torch\.save\(model\.state_dict\(\)"),
        (save_other_network, "don't fit torchvision's mobilenet_v2 .*give a state dict of that"),
        (save_other_shapes, "don't fit torchvision's mobilenet_v2 .*size mismatch.*give a state"),
        (save_list, "aren't a state dict"),
        (save_checkpoint, "aren't a state dict"),
    ],
)
def test_wrong_weights_are_refused(
    network: Network, tmp_path: Path, save: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "weights.pt"
    save(path)
    with pytest.raises(InputError, match=message) as error:
        load_pretrained(network, str(path))
    assert repr(str(path)) in str(error.value)


def test_missing_weights_are_refused(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "missing.pt"
    with pytest.raises(InputError, match=r"missing.pt': no such file; give 'imagenet', 'none' or a"):
        load_pretrained(network, str(path))


def test_imagenet_fails_at_once_where_there_is_no_network(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    nobody_listens = "http://127.0.0.1:9/mobilenet_v2-test.pth"
    weights = replace(MobileNet_V2_Weights.DEFAULT.value, url=nobody_listens)
    monkeypatch.setattr(MobileNet_V2_Weights.DEFAULT, "_value_", weights)
    with pytest.raises(InputError, match=r"can't be downloaded .*--weights PATH or --weights none") as e:
        load_pretrained(network, "imagenet")
    assert str(tmp_path / "hub" / "checkpoints" / "mobilenet_v2-test.pth") in str(e.value)


def test_a_network_from_scratch_begins_with_blocks_that_do_nothing() -> None:
    residual = [b for b in Network(2).modules() if getattr(b, "use_res_connect", False)]
    assert len(residual) == 10
    for block in residual:
        photos = torch.randn(2, block.conv[0][0].in_channels, 4, 4)
        assert torch.equal(block(photos), photos)
