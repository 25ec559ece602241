"""Grad-CAM in closed form against its definition, which takes gradients."""

import numpy as np
import pytest
import torch

from model.bundle import Bundle, ModelSpec
from model.explain import grad_cam
from model.network import Network
from model.outputs import Outputs
from model.preprocessing import Preprocessing

SPEC = ModelSpec(("a", "b"), Preprocessing(64), "f", "v", "now")


def explain(network: Network, photos: torch.Tensor) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = Outputs(*(part.numpy() for part in network.outputs(photos)))
    return grad_cam(Bundle(SPEC, network, ()).head, outputs)


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_as_the_paper_defines_it(head: str) -> None:
    """For each photo alone: gradients of the best score averaged, maps weighted, negatives cut."""
    torch.manual_seed(0)
    network = Network(3, head).eval()
    photos = torch.randn(5, 3, 96, 64)
    found = explain(network, photos)
    assert [heat.shape for heat in found] == [(3, 2)] * 5
    for photo, heat in zip(photos, found, strict=True):
        maps = network.features(photo[None]).detach().requires_grad_()
        scores = network.head[:-1](maps.mean((2, 3)))[0]
        scores[scores.argmax()].backward()
        assert maps.grad is not None
        weights = maps.grad[0].mean((1, 2))
        expected = torch.einsum("c,chw->hw", weights, maps.detach()[0]).clamp(min=0)
        expected /= expected.max().clamp(min=1e-30)
        np.testing.assert_allclose(heat, expected.numpy(), rtol=0, atol=1e-5)


def test_the_heat_is_where_the_class_is() -> None:
    """A head that reads one channel must give that channel's map."""
    own = Network(2).eval()
    with torch.no_grad():
        for layer in (own.head[1], own.head[4]):
            layer.weight.zero_()
            layer.bias.zero_()
        own.head[1].weight[0, 7] = 1e9  # random blocks give little
        own.head[4].weight[1, 0] = 1.0
    photos = torch.randn(1, 3, 128, 128)
    channel = own.features(photos)[0, 7].detach()
    np.testing.assert_allclose(explain(own, photos)[0], channel / channel.max(), rtol=0, atol=1e-5)


def test_nothing_to_show_is_zeros_and_no_division_by_them() -> None:
    silent = Network(2).eval()
    with torch.no_grad():
        for parameter in silent.head.parameters():
            parameter.zero_()
    (heat,) = explain(silent, torch.randn(1, 3, 64, 64))
    assert np.array_equal(heat, np.zeros((2, 2)))


def test_what_speaks_against_a_class_is_no_heat() -> None:
    maps = np.array([[[[4.0, 1.0]], [[1.0, 3.0]]]], np.float32)  # (1, 2, 1, 2)
    head = [(np.array([[0.0, 0.0], [1.0, -1.0]], np.float32), np.zeros(2, np.float32))]
    outputs = Outputs(np.array([[-2.0, -0.1]], np.float32), maps.mean((2, 3)), maps)
    (heat,) = grad_cam(head, outputs)
    assert heat.tolist() == [[1.0, 0.0]]  # of 3 and -2
