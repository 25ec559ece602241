"""Grad-CAM against its definition, and where it points."""

import pytest
import torch

from model.explain import grad_cam
from model.network import Network


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network(3).eval()


def test_as_the_paper_defines_it(network: Network) -> None:
    """For each photo alone: gradients of the best score averaged, maps weighted, negatives cut."""
    photos = torch.randn(2, 3, 96, 64)
    found = grad_cam(network, photos)
    assert found.shape == (2, 3, 2)
    for photo, heat in zip(photos, found, strict=True):
        maps = network.features(photo[None]).detach().requires_grad_()
        scores = network.head[:-1](maps.mean((2, 3)))[0]
        scores[scores.argmax()].backward()
        weights = maps.grad[0].mean((1, 2))
        expected = torch.einsum("c,chw->hw", weights, maps.detach()[0]).clamp(min=0)
        torch.testing.assert_close(heat, expected / expected.max().clamp(min=1e-30))


def test_the_heat_is_where_the_class_is() -> None:
    """A head that reads one channel must give that channel's map."""
    own = Network(2).eval()
    with torch.no_grad():
        for layer in (own.head[1], own.head[4]):
            layer.weight.zero_()
            layer.bias.zero_()
        own.head[1].weight[0, 7] = 1.0
        own.head[4].weight[1, 0] = 1.0
    photos = torch.randn(1, 3, 128, 128)
    channel = own.features(photos)[0, 7].detach()
    torch.testing.assert_close(grad_cam(own, photos)[0], channel / channel.max())


def test_nothing_to_show_is_zeros_and_no_division_by_them() -> None:
    silent = Network(2).eval()
    with torch.no_grad():
        for parameter in silent.head.parameters():
            parameter.zero_()
    heat = grad_cam(silent, torch.randn(1, 3, 64, 64))
    assert torch.equal(heat, torch.zeros(1, 2, 2))


def test_weights_and_their_gradients_are_left_alone() -> None:
    network = Network(2).eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    grad_cam(network, torch.randn(1, 3, 64, 64))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
