"""The network: torchvision's MobileNetV2 with a head of our own that answers log-probabilities.

MobileNetV2: Sandler et al., "Inverted Residuals and Linear Bottlenecks", CVPR 2018. Its 19 feature
blocks are kept; its classifier of 1,000 classes is replaced by a head: one linear layer as there, or two
with 256 hidden units between them.
"""

import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual

from model.errors import InputError
from model.files import first_line

FEATURES = 1280  # channels that MobileNetV2's last block gives
_HIDDEN = 256
_REACH_TIMEOUT_S = 5


class Network(nn.Module):
    """(N, 3, S, S) normalised photos -> (N, classes) log-probabilities."""

    def __init__(self, n_classes: int, head: str = "mlp", dropout: float = 0.2) -> None:
        """Build the network with random weights; `head` is one of `model.bundle.ARCHITECTURES`."""
        super().__init__()
        self.features: nn.Sequential = mobilenet_v2(weights=None).features
        _start_as_identity(self.features)
        hidden = [nn.Dropout(dropout), nn.Linear(FEATURES, _HIDDEN), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(
            *(hidden if head == "mlp" else []),
            nn.Dropout(dropout),
            nn.Linear(_HIDDEN if head == "mlp" else FEATURES, n_classes),
            nn.LogSoftmax(dim=1),
        )

    def forward(self, photos: Tensor) -> Tensor:
        """Answer log-probabilities."""
        return self.outputs(photos)[0]

    def outputs(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer log-probabilities, features and their maps, as `model.outputs.Outputs` has them."""
        maps = self.features(photos)
        features = self.pool(maps)
        return self.head(features), features, maps

    def classify(self, maps: Tensor) -> Tensor:
        """(N, 1280, S/32, S/32) of the last feature block -> (N, classes) log-probabilities."""
        return cast(Tensor, self.head(self.pool(maps)))

    @staticmethod
    def pool(maps: Tensor) -> Tensor:
        """(N, 1280, S/32, S/32) -> (N, 1280)."""
        return maps.mean(dim=(2, 3))

    @property
    def n_classes(self) -> int:
        """How many classes are told apart."""
        return cast(nn.Linear, self.head[-2]).out_features


class AllOutputs(nn.Module):
    """`Network.outputs` as a module, to be exported."""

    def __init__(self, network: Network) -> None:
        """Share the network's weights."""
        super().__init__()
        self._network = network

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer log-probabilities, features and their maps."""
        return self._network.outputs(photos)


def _start_as_identity(features: nn.Module) -> None:
    """Zero the last batch-norm scale of each residual block: training from scratch then starts sooner.

    Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
    """
    for block in features.modules():
        if isinstance(block, InvertedResidual) and block.use_res_connect:
            nn.init.zeros_(block.conv[-1].weight)


def load_pretrained(network: Network, weights: str) -> None:
    """Fill the feature blocks with pre-trained weights; the head stays as it is.

    Args:
        network: is changed in place.
        weights: "imagenet" for torchvision's own (downloaded once), "none" to start from scratch, or
            the path of a state dict of torchvision's `mobilenet_v2`.
    """
    if weights == "none":
        return
    state = _imagenet() if weights == "imagenet" else _state_dict(Path(weights))
    features = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    try:
        network.features.load_state_dict(features)
    except RuntimeError as error:
        reason = str(error).splitlines()[1:2] or [first_line(error)]
        raise InputError(
            f"weights {weights!r} don't fit torchvision's mobilenet_v2 ({reason[0].strip()[:200]}); "
            "give a state dict of that model"
        ) from error


def _state_dict(path: Path) -> dict[str, Any]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"weights {str(path)!r}: {what}; give 'imagenet', 'none' or a path")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever the file leads it to
        raise InputError(
            f"weights {str(path)!r} can't be read as a PyTorch state dict "
            f"({first_line(error)}); save one with torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"weights {str(path)!r} aren't a state dict (names and tensors)")
    return state


def _imagenet() -> dict[str, Any]:
    """Return torchvision's weights, from its cache or its server; offline that fails at once."""
    weights = MobileNet_V2_Weights.DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not cached.exists():
        try:
            urllib.request.urlopen(
                urllib.request.Request(weights.url, method="HEAD"), timeout=_REACH_TIMEOUT_S
            ).close()
        except (OSError, HTTPException, ValueError) as error:  # the last two for a proxy that is none
            raise InputError(
                f"weights 'imagenet' can't be downloaded ({error}); copy "
                f"{Path(weights.url).name} to {cached}, or give --weights PATH or --weights none"
            ) from error
    return cast(dict[str, Any], weights.get_state_dict(progress=True, check_hash=True))
