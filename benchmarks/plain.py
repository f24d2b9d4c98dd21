"""The textbook form of StyleGAN-T's layers, for benchmarks to compare with: per-sample weights,
filters by zero insertion, the heads once for each batch.

The same maths as models/ (a test compares them), written the way the formulas read (Karras et al.
2020, section 2.2), which is also the way the published code runs. Legend: N samples, O/I channels
out/in, k kernel side, H W pixels.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from models.interfaces import Condition
from models.layers.equalized import LEAK
from models.layers.modulated_layer import CLAMP, ModulatedLayer, ToRGB
from models.stylegan_t import blocks
from models.stylegan_t.blocks import ResidualLayer
from models.stylegan_t.discriminator import StyleGANTDiscriminator

_JUDGE = StyleGANTDiscriminator.forward


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Let every StyleGAN-T network compute in the textbook form while the context is open."""
    with contextlib.ExitStack() as stack:
        swaps: list[tuple[Any, str, Any]] = [
            (ModulatedLayer, "convolve", _convolve),
            (ResidualLayer, "forward", _residual),
            (ToRGB, "forward", _to_rgb),
            (blocks, "upsample_rgb", _upsample),
            (StyleGANTDiscriminator, "forward", _judge),
        ]
        for owner, name, function in swaps:
            stack.enter_context(mock.patch.object(owner, name, function))
        yield


def _convolve(
    layer: ModulatedLayer, x: Tensor, style_NI: Tensor, noise: Tensor | None, *_: Any
) -> Tensor:
    weight = layer.weight[None] * style_NI[:, None, :, None, None]  # [N, O, I, k, k]
    weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    y = _grouped(x, weight, up=layer.up)
    if noise is not None:
        y = y + noise * layer.noise_strength
    y = F.leaky_relu(y + layer.bias[:, None, None], LEAK) * (math.sqrt(2) * layer.gain)
    return y.clamp(-CLAMP * layer.gain, CLAMP * layer.gain)


def _grouped(x: Tensor, weight_NOIkk: Tensor, *, up: bool) -> Tensor:
    """Convolve each sample with its own weights: one convolution of N groups."""
    n, out, inner, k, _ = weight_NOIkk.shape
    x = x.reshape(1, n * inner, *x.shape[2:])
    if up:
        transposed = weight_NOIkk.transpose(1, 2).reshape(n * inner, out, k, k)
        y = F.conv_transpose2d(x, transposed, stride=2, groups=n)
        y = _filter(y.view(n, out, *y.shape[2:]), padding=(1, 1))
        return y
    y = F.conv2d(x, weight_NOIkk.reshape(n * out, inner, k, k), padding=k // 2, groups=n)
    return y.view(n, out, *y.shape[2:])


def _filter(x: Tensor, padding: tuple[int, int]) -> Tensor:
    """Apply the FIR [1, 3, 3, 1] with gain 4 to each channel."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (*padding, *padding)), kernel, groups=x.shape[1])


def _upsample(x: Tensor) -> Tensor:
    """Double by zero insertion and the FIR."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, h, 2, w, 2)
    wide[:, :, :, 0, :, 0] = x
    return _filter(wide.view(n, c, 2 * h, 2 * w), padding=(2, 1))


def _residual(layer: ResidualLayer, x: Tensor, w_ND: Tensor, noise: Tensor | None) -> Tensor:
    normal = layer.norm(x.float()).to(x.dtype)
    y = _convolve(layer, normal, layer.style(w_ND), noise) * layer.gamma[:, None, None]
    return (y + normal) * math.sqrt(2)


def _to_rgb(layer: ToRGB, x: Tensor, w_ND: Tensor) -> Tensor:
    style_NI = layer.style(w_ND) * layer.style_gain
    weight = (layer.weight * style_NI[:, None, :])[:, :, :, None, None]
    return (_grouped(x, weight, up=False).float() + layer.bias[:, None, None]).clamp(-CLAMP, CLAMP)


def _judge(
    heads: StyleGANTDiscriminator, taps: Mapping[str, Tensor], condition: Condition, parts: int = 1
) -> Tensor:
    """Judge concatenated batches in a pass each."""
    halves = [{name: tap.chunk(parts)[i] for name, tap in taps.items()} for i in range(parts)]
    return torch.cat([_JUDGE(heads, half, condition) for half in halves])
