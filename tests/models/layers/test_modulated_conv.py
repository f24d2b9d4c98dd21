"""Scale-conv-scale against per-sample weights, written out in float64."""

import pytest
import torch
from torch.nn import functional as F

from models.layers.modulated_conv import demodulation, modulated_convolution

N, INPUT, OUTPUT = 3, 5, 4


def per_sample_reference(x, weight, style, up):
    """Form w s d per sample and convolve each sample with its own weights, in float64."""
    x, weight, style = x.double(), weight.double(), style.double()
    out = []
    for sample, scale in zip(x, style, strict=True):
        w = weight * scale[None, :, None, None]
        w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        out.append(up_reference(sample, w) if up else F.conv2d(sample, w, padding=1))
    return torch.stack(out)


def up_reference(x, weight):
    """Zero insertion, FIR, true convolution, on a canvas so wide that its border plays no part."""
    channels, size = x.shape[0], x.shape[1]
    margin = 8
    canvas = x.new_zeros(channels, 2 * size + 2 * margin, 2 * size + 2 * margin)
    canvas[:, margin : margin + 2 * size : 2, margin : margin + 2 * size : 2] = x
    taps = torch.tensor([1, 3, 3, 1], dtype=torch.float64) / 4
    fir = torch.outer(taps, taps).expand(channels, 1, 4, 4)
    # Position p of the result sees inserted samples p - 2 ... p + 1: the filter is even, its centre
    # lies between two pixels.
    smooth = F.conv2d(F.pad(canvas, (2, 1, 2, 1)), fir, groups=channels)
    y = F.conv2d(smooth, weight.flip(2, 3), padding=1)
    return y[:, margin : margin + 2 * size, margin : margin + 2 * size]


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("size", [1, 6])
def test_equals_per_sample_weights_with_borders_and_gradients(up, size):
    torch.manual_seed(0)
    x = torch.randn(N, INPUT, size, size, requires_grad=True)
    weight = torch.randn(OUTPUT, INPUT, 3, 3, requires_grad=True)
    style = torch.randn(N, INPUT, requires_grad=True)
    scale = demodulation(style, weight)[:, :, None, None]
    ours = modulated_convolution(x, weight, style, up=up) * scale
    reference = per_sample_reference(x, weight, style, up)
    assert ours.shape == (N, OUTPUT, size * (1 + up), size * (1 + up))
    torch.testing.assert_close(ours.double(), reference, atol=1e-5, rtol=1e-5)

    inputs = (x, weight, style)
    probe = torch.randn_like(ours)
    theirs = torch.autograd.grad((reference * probe).sum(), inputs)
    for a, b in zip(torch.autograd.grad((ours * probe).sum(), inputs), theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_kernel_of_one():
    x, weight, style = torch.randn(2, 3, 4, 4), torch.randn(5, 3, 1, 1), torch.randn(2, 3)
    expected = torch.einsum("nihw,oi,ni->nohw", x, weight[:, :, 0, 0], style)
    torch.testing.assert_close(modulated_convolution(x, weight, style), expected)


@pytest.mark.parametrize("up", [False, True])
def test_nothing_of_the_size_of_per_sample_weights_is_saved(up):
    n, channels, size = 4, 32, 2
    x = torch.randn(n, channels, size, size, requires_grad=True)
    weight = torch.randn(channels, channels, 3, 3, requires_grad=True)
    style = torch.randn(n, channels, requires_grad=True)
    saved = []

    def note(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        y = (
            modulated_convolution(x, weight, style, up=up)
            * demodulation(style, weight)[..., None, None]
        )
    assert y.requires_grad
    assert max(saved) <= weight.numel() < n * weight.numel()


def test_demodulation_stays_float32_under_autocast():
    style, weight = torch.randn(2, 8), torch.randn(4, 8, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = demodulation(style, weight)
        features = modulated_convolution(torch.randn(2, 8, 4, 4), weight, style)
    assert inside.dtype == torch.float32
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(inside, demodulation(style, weight), atol=0, rtol=0)
