import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.layers.spectral_norm import SpectralConv1d, advance_power_iteration


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_equals_torchs_spectral_norm_in_output_and_gradient(kernel):
    torch.manual_seed(0)
    ours = SpectralConv1d(6, 4, kernel)
    conv = nn.Conv1d(6, 4, kernel, padding=kernel // 2, padding_mode="circular")
    theirs = nn.utils.spectral_norm(conv).eval()  # eval: the stored u and v count
    with torch.no_grad():
        theirs.weight_orig.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
        theirs.weight_u.copy_(ours.u)
        theirs.weight_v.copy_(ours.v)
    x = torch.randn(2, 11, 6)
    y, z = ours(x), theirs(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(y, z, atol=1e-5, rtol=1e-5)
    probe = torch.randn_like(y)
    (a,) = torch.autograd.grad((y * probe).sum(), ours.weight)
    (b,) = torch.autograd.grad((z * probe).sum(), theirs.weight_orig)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_power_iteration_finds_the_largest_singular_value():
    torch.manual_seed(0)
    layer = SpectralConv1d(10, 7, 3)
    layer.advance(iterations=200)
    matrix = layer.weight.detach().flatten(1)
    sigma = layer.u @ matrix @ layer.v
    torch.testing.assert_close(sigma, torch.linalg.svdvals(matrix)[0], rtol=1e-4, atol=1e-5)


def test_forward_changes_nothing_and_advance_is_one_step():
    torch.manual_seed(0)
    net = nn.Sequential(SpectralConv1d(5, 5, 3), SpectralConv1d(5, 2))
    nn.init.normal_(net[0].weight)  # so that u and v lag behind
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.train()
    first = net(torch.ones(2, 6, 5))
    net(torch.zeros(2, 6, 5))
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    advance_power_iteration(net)
    matrix = before["0.weight"].flatten(1)
    v = F.normalize(matrix.t() @ before["0.u"], dim=0)
    torch.testing.assert_close(net[0].v, v)
    torch.testing.assert_close(net[0].u, F.normalize(matrix @ v, dim=0))
    assert not torch.allclose(first, net(torch.ones(2, 6, 5)))


def test_refuses_what_it_cannot_pad():
    with pytest.raises(ValueError, match="odd"):
        SpectralConv1d(2, 2, 4)
    with pytest.raises(ValueError, match="at least 4 tokens, got 3"):
        SpectralConv1d(2, 2, 9)(torch.zeros(1, 3, 2))
