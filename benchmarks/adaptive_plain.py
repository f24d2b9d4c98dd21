"""The textbook form of adaptive convolutions and attention, for benchmarks.adaptive to compare
with: every sample's bank is weighted, summed, modulated and demodulated as a tensor of its own,
features are doubled before they are convolved, and all logits of all heads are in memory.

The same maths as models/gigagan (a test compares them), written the way the formulas of Kang et al.
2023, sections 3.1 and 3.2, read, which is also the way the open implementations run. Legend: B
samples, N kernels of a bank, O/I channels out/in, k kernel side, h heads, T S tokens, d width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from models.gigagan import adaptive_conv, attention, blocks, synthesis


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Let the family's networks compute in the textbook form while the context is open."""
    with contextlib.ExitStack() as stack:
        swaps: list[tuple[Any, str, Any]] = [
            (adaptive_conv, "adaptive_convolution", _convolve),
            (attention, "attend", _attend),
            (blocks, "upsample_rgb", double),
            (synthesis, "upsample_rgb", double),
        ]
        for owner, name, function in swaps:
            stack.enter_context(mock.patch.object(owner, name, function))
        yield


def _convolve(
    x_BIHW: Tensor,
    bank_NOIkk: Tensor,
    style_BI: Tensor,
    share_BN: Tensor | None,
    *,
    demodulate: bool = True,
    up: bool = False,
) -> Tensor:
    if share_BN is None:
        share_BN = torch.ones(len(x_BIHW), 1, device=x_BIHW.device)
    kernel_BOIkk = (share_BN[:, :, None, None, None, None] * bank_NOIkk[None]).sum(dim=1)
    kernel_BOIkk = kernel_BOIkk * style_BI[:, None, :, None, None]
    if demodulate:
        energy = kernel_BOIkk.square().sum(dim=(2, 3, 4), keepdim=True)
        kernel_BOIkk = kernel_BOIkk * (energy + adaptive_conv.EPS).rsqrt()
    b, o, i, k, _ = kernel_BOIkk.shape
    padding = k // 2
    if up:
        # A ring of zeros keeps what the filter spreads over the border; convolved without flip.
        x_BIHW, kernel_BOIkk = double(F.pad(x_BIHW, (1, 1, 1, 1))), kernel_BOIkk.flip(3, 4)
        padding = 0
    x = x_BIHW.reshape(1, b * i, *x_BIHW.shape[2:])
    y = F.conv2d(x, kernel_BOIkk.reshape(b * o, i, k, k), padding=padding, groups=b)
    y = y.view(b, o, *y.shape[2:])
    return y[:, :, 1:-1, 1:-1] if up else y


def double(x: Tensor) -> Tensor:
    """Double the size by zero insertion and the FIR [1, 3, 3, 1]."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, h, 2, w, 2)
    wide[:, :, :, 0, :, 0] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 4
    kernel = torch.outer(taps, taps).expand(c, 1, 4, 4)
    return F.conv2d(F.pad(wide.view(n, c, 2 * h, 2 * w), (2, 1, 2, 1)), kernel, groups=c)


def _attend(
    query_BhTd: Tensor,
    key_BhSd: Tensor,
    value_BhSd: Tensor,
    *,
    likeness: str = "squared",
    scale: float | None = None,
    seen_TS: Tensor | None = None,
    same: bool = False,
) -> Tensor:
    kind: Any = likeness
    scale = attention.logit_scale(kind, query_BhTd.shape[-1]) if scale is None else scale
    product = torch.einsum("bhtd,bhsd->bhts", query_BhTd, key_BhSd)
    if likeness != "dot":
        squared = query_BhTd.square().sum(dim=-1)[..., None]
        squared = squared + key_BhSd.square().sum(dim=-1)[:, :, None]
        product = -(squared - 2 * product).clamp(min=0)
        product = -(-product).sqrt() if likeness == "distance" else product
    logits = product * scale
    if seen_TS is not None:
        logits = logits.masked_fill(~seen_TS, -torch.inf)
    return torch.einsum("bhts,bhsd->bhtd", logits.softmax(dim=-1), value_BhSd)
