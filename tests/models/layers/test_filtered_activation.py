"""Filtered leaky ReLU against upsample, filter, activate, filter, downsample, one by one."""

import math

import pytest
import torch
from torch.nn import functional as F

from models.layers.axis_filter import AxisFilter
from models.layers.filtered_activation import FilteredLeakyReLU

# (up, down, size in, size out); crops, same rate, doubling, factors of a large head, many tiles.
CASES = [
    (2, 2, 14, 9),
    (2, 2, 14, 12),
    (4, 2, 14, 30),
    (8, 2, 9, 35),
    (2, 4, 20, 7),
    (2, 2, 130, 126),
]


def taps(count, seed):
    """Symmetric, unit sum; [K, K] symmetric under transposition if the seed is negative."""
    rng = torch.Generator().manual_seed(abs(seed))
    shape = (count, count) if seed < 0 else (count,)
    f = torch.rand(shape, generator=rng, dtype=torch.float64)
    f = f + f.flip(0)
    f = f + f.flip(-1)
    f = f + f.t() if seed < 0 else f
    return f / f.sum()


def layer(case, radial=False, **changes):
    up, down, size_in, size_out = case
    up_taps, down_taps = taps(6 * up, 1), taps(6 * down, -2 if radial else 2)
    sizes = {"up": up, "down": down, "size_in": size_in, "size_out": size_out}
    return FilteredLeakyReLU(up_taps, down_taps, **(sizes | changes)), up_taps, down_taps


def reference(x, up_taps, down_taps, up, down, size_out, clamp):
    """In float64, as the formula reads; filters as true convolutions."""
    n, c, size, _ = x.shape
    x = x.double()
    wide = x.new_zeros(n, c, size * up, size * up)
    wide[:, :, ::up, ::up] = x
    total = (size_out - 1) * down + 1 - size * up + len(up_taps) + len(down_taps) - 2
    low = (total + up) // 2
    high = total - low
    wide = F.pad(wide, (low, high, low, high))

    def fir(y, f):
        kernel = f if f.ndim == 2 else torch.outer(f, f)
        flat = F.conv2d(y.flatten(0, 1)[:, None], kernel.flip(0, 1)[None, None])
        return flat[:, 0].unflatten(0, (n, c))

    y = F.leaky_relu(fir(wide, up_taps) * up**2, 0.2) * math.sqrt(2)
    return fir(y.clamp(-clamp, clamp), down_taps)[:, :, ::down, ::down]


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_float64_reference_with_its_gradient(case, radial):
    torch.manual_seed(0)
    up, down, size_in, size_out = case
    net, up_taps, down_taps = layer(case, radial, clamp=1.5)
    x = torch.randn(2, 3, size_in, size_in, requires_grad=True)
    ours = net(x)
    expected = reference(x, up_taps, down_taps, up, down, size_out, 1.5)
    assert ours.shape == (2, 3, size_out, size_out) == expected.shape
    assert (ours - expected).abs().max() < 1e-5
    probe = torch.randn_like(ours)
    theirs = torch.autograd.grad((expected * probe).sum(), x)[0]
    assert (torch.autograd.grad((ours * probe).sum(), x)[0] - theirs).abs().max() < 1e-5


@pytest.mark.parametrize("radial", [False, True])
def test_the_bounded_path_gives_the_same_and_keeps_only_its_input(radial):
    torch.manual_seed(0)
    case = (2, 2, 14, 12)
    plain, bounded = layer(case, radial)[0], layer(case, radial)[0]
    bounded.memory_elements = 2 * plain.size_high**2  # one channel of two samples
    x = torch.randn(2, 5, 14, 14, requires_grad=True)
    gradients, largest = [], []
    for net in (plain, bounded):
        saved = []

        def note(tensor, saved=saved):
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            y = net(x)
        largest.append(max(saved, default=0))
        first = torch.autograd.grad(y.square().sum(), x, create_graph=True)[0]
        gradients.append((y.detach(), first.detach(), *torch.autograd.grad(first.sum(), x)))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert largest[0] >= 10 * plain.size_high**2 > 10 * largest[1]
    with torch.no_grad():
        torch.testing.assert_close(bounded(x), gradients[0][0], atol=1e-5, rtol=1e-5)


def test_bfloat16_autocast_leaves_the_filters_in_float32():
    net, *_ = layer((2, 2, 14, 12))
    x = torch.randn(1, 2, 14, 14)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(x), net(x.float()), atol=0, rtol=0)
        assert net(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(net(x.bfloat16()).float(), net(x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("more", [0, 1, 3])
@pytest.mark.parametrize(
    ("up", "down", "before"), [(3, 1, 4), (1, 3, 0), (2, 1, -7), (1, 2, -3), (4, 1, 9), (1, 1, 5)]
)
def test_axis_filter_follows_its_formula(size, more, up, down, before):
    f = taps(6, 3)
    size_out = max(1, (size * up + before - 6) // down + more)
    x = torch.randn(2, 3, size, 4, dtype=torch.float64)
    expected = torch.zeros(2, 3, size_out, 4, dtype=torch.float64)
    for o in range(size_out):
        for i in range(size):
            k = i * up + before - o * down
            if 0 <= k < 6:
                expected[:, :, o] += x[:, :, i] * f[k]
    sizes = {"up": up, "down": down, "before": before, "size_in": size, "size_out": size_out}
    rows, columns = (AxisFilter(f, axis=axis, **sizes) for axis in (2, 3))
    torch.testing.assert_close(rows(x.float()).double(), expected, atol=1e-5, rtol=1e-5)
    turned = columns(x.float().transpose(2, 3)).transpose(2, 3)
    torch.testing.assert_close(turned.double(), expected, atol=1e-5, rtol=1e-5)


def test_axis_filter_does_one_thing_at_a_time():
    with pytest.raises(ValueError, match="one of them must be 1"):
        AxisFilter(taps(6, 3), axis=2, up=2, down=2, size_in=4, size_out=4)
