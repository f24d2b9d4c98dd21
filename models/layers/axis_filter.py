"""Upsample, filter and downsample along one axis, as a product with a banded matrix.

On a CPU this is slower than a depthwise convolution in channels-last memory (docs/log.md has the
times); on a GPU neither was measured.

Legend: L samples of an axis, T tiles of it, V samples that a tile reads, O samples that it writes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LONGEST_TILE = 96  # outputs; a longer tile wastes products with zeros, a shorter one reads twice


class AxisFilter(nn.Module):
    """y[o] = sum_i x[i] taps[i up + before - o down] along the last axis.

    That is: insert up - 1 zeros after each sample, put `before` zeros in front (negative: cut), run
    the filter without padding, keep every `down`-th sample; samples outside are zero.

    Args:
        taps: [K], symmetric.
        up, down: factors.
        before: zeros in front, at the upsampled rate.
        size_in, size_out: samples of the axis.
    """

    matrix_VO: Tensor

    def __init__(
        self,
        taps: Tensor,
        *,
        up: int = 1,
        down: int = 1,
        before: int = 0,
        size_in: int,
        size_out: int,
    ) -> None:
        super().__init__()
        self.size_out = size_out
        self.num_tiles = -(-size_out // LONGEST_TILE)
        # A tile starts at a whole input sample, so its outputs are a multiple of `up`.
        tile_out = -(-size_out // (self.num_tiles * up)) * up
        self.step = tile_out * down // up
        first = -(before // up)  # the input that the first output's first tap meets
        last = ((tile_out - 1) * down - before + len(taps) - 1) // up
        self.window = last - first + 1
        end = (self.num_tiles - 1) * self.step + self.window
        self.padding = (-first, end + first - size_in)
        i = torch.arange(first, last + 1, device="cpu")[:, None]
        o = torch.arange(tile_out, device="cpu")[None, :]
        k = i * up + before - o * down
        inside = (k >= 0) & (k < len(taps))
        matrix = torch.where(inside, taps[k.clamp(0, len(taps) - 1)], 0.0)
        self.register_buffer("matrix_VO", matrix.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., size_in] to [..., size_out], contiguous unless cut."""
        x = F.pad(x, self.padding) if any(self.padding) else x
        if self.num_tiles == 1:
            y = x @ self.matrix_VO
        else:
            y = (x.unfold(-1, self.window, self.step) @ self.matrix_VO).flatten(-2)
        return y if y.shape[-1] == self.size_out else y[..., : self.size_out]
