"""3x3 convolutions with 4/9 of the products, for sampling in float32 on a CPU.

Winograd's minimal filtering F(2x2, 3x3): Lavin and Gray 2016, "Fast Algorithms for Convolutional
Neural Networks", section 4.1. Each tile of 4x4 inputs and the filter are transformed, multiplied
point by point and transformed back to 2x2 outputs. Equal to the direct form to about 1e-6; no
gradient is meant to pass.

Legend: N samples, I/O channels in/out, H W pixels, T tiles of a strip.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_STRIP_TILES = 512  # tiles worked on at once: both transforms stay in the cache

# Filter transform G of the paper's equation (8); the other two are written out as sums below.
_FILTER_43 = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


def short_weight(weight_OI33: Tensor) -> Tensor:
    """Return the transformed filters [16, I, O], 16/9 of the memory, computed in float64."""
    o, i = weight_OI33.shape[:2]
    filter_43 = torch.tensor(_FILTER_43, dtype=torch.float64, device=weight_OI33.device)
    both_16x9 = torch.kron(filter_43, filter_43)
    made = both_16x9 @ weight_OI33.permute(2, 3, 1, 0).reshape(9, -1).double()
    return made.to(weight_OI33.dtype).view(16, i, o)


def short_convolution(x_NCHW: Tensor, weight_16IO: Tensor) -> Tensor:
    """Return the 3x3 convolution, zero-padded by one pixel.

    Args:
        x_NCHW: [N, I, H, W], H and W even; fastest in channels-last memory.
        weight_16IO: from `short_weight`.

    Returns:
        [N, O, H, W] in channels-last memory.
    """
    n, _, height, width = x_NCHW.shape
    padded = F.pad(x_NCHW.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    out = x_NCHW.new_empty(n, height, width, weight_16IO.shape[-1])
    rows = max(_STRIP_TILES // (n * (width // 2)), 1) * 2
    for top in range(0, height, rows):
        strip = padded[:, top : min(top + rows, height) + 2]
        _strip(strip, weight_16IO, out[:, top : top + rows])
    return out.permute(0, 3, 1, 2)


def _strip(x_NHWI: Tensor, weight_16IO: Tensor, out_NHWO: Tensor) -> None:
    n, high, wide, inner = x_NHWI.shape
    tiles = (n, (high - 2) // 2, (wide - 2) // 2)
    moved = x_NHWI.new_empty(4, 4, *tiles, inner)
    rows = [x_NHWI[:, i : high - 3 + i + 1 : 2] for i in range(4)]
    for i, row in enumerate(_differences(rows)):
        columns = [row[:, :, j : wide - 3 + j + 1 : 2] for j in range(4)]
        _differences(columns, out=moved[i])
    products = torch.bmm(moved.view(16, -1, inner), weight_16IO).view(4, 4, *tiles, -1)
    for i, row in enumerate(_sums(products)):
        for j, pixel in enumerate(_sums(row)):
            out_NHWO[:, i::2, j::2] = pixel


def _differences(x: list[Tensor], out: Tensor | None = None) -> list[Tensor]:
    """Apply the input transform along one axis."""
    pairs = ((torch.sub, 0, 2), (torch.add, 1, 2), (torch.sub, 2, 1), (torch.sub, 1, 3))
    if out is None:
        return [take(x[a], x[b]) for take, a, b in pairs]
    return [take(x[a], x[b], out=out[i]) for i, (take, a, b) in enumerate(pairs)]


def _sums(x: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the output transform along the first axis."""
    inner = x[1] + x[2]
    return inner.add_(x[0]), (x[1] - x[2]).sub_(x[3])
