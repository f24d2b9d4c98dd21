"""Spectral norm of images' layers: the largest singular value, against an SVD in float64."""

import pytest
import torch
import torch.nn.functional as F

from models.layers.spectral_norm import (
    SpectralConv2d,
    SpectralConvTranspose2d,
    SpectralLinear,
    advance_power_iteration,
)

LAYERS = {
    "convolution": lambda: SpectralConv2d(3, 5, 3, stride=2, padding=1, bias=True),
    "depthwise": lambda: SpectralConv2d(4, 4, 3, padding=1, groups=4),
    "transposed": lambda: SpectralConvTranspose2d(3, 4, 4),
    "linear": lambda: SpectralLinear(6, 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_sigma_is_the_largest_singular_value(name):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    layer.advance(iterations=200)
    weight = layer.weight.detach().double()
    rows = weight.transpose(0, 1) if name == "transposed" else weight
    largest = torch.linalg.matrix_norm(rows.flatten(1), ord=2)
    torch.testing.assert_close(layer.normalised().double(), weight / largest, rtol=1e-4, atol=1e-5)


def test_layers_map_as_torch_does_with_the_normalised_weight():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    conv = LAYERS["convolution"]()
    wanted = F.conv2d(x, conv.normalised(), conv.bias, stride=2, padding=1)
    assert torch.equal(conv(x), wanted)
    transposed = LAYERS["transposed"]()
    assert transposed(x[:, :, :1, :1]).shape == (2, 4, 4, 4)
    wanted = torch.einsum("ni,iokl->nokl", x[:, :, 0, 0], transposed.normalised())
    torch.testing.assert_close(transposed(x[:, :, :1, :1]), wanted)


def test_only_advance_moves_the_vectors_and_the_gradient_knows_sigma():
    torch.manual_seed(0)
    layer = SpectralLinear(6, 4)
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    layer(torch.randn(2, 6))
    assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())
    # Scaling the weight changes nothing, so the gradient is orthogonal to it.
    layer(torch.randn(2, 6)).square().sum().backward()
    slope = (layer.weight.grad * layer.weight).sum() / layer.weight.grad.norm()
    assert abs(slope) < 1e-4
    with torch.no_grad():
        layer.weight += 0.1
    advance_power_iteration(torch.nn.Sequential(layer))
    assert not torch.equal(layer.u, before["u"])
