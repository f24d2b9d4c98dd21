"""Upsample, filter and downsample along one axis of an image, as depthwise convolutions.

In channels-last memory these are the fast kernels of a CPU (docs/log.md has the times); on a GPU
they were not measured.

Legend: N samples, C channels, H W pixels, K taps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AxisFilter(nn.Module):
    """y[o] = sum_i x[i] taps[i up + before - o down] along the rows or along the columns.

    That is: insert up - 1 zeros after each sample, put `before` zeros in front (negative: cut), run
    the filter without padding, keep every `down`-th sample; samples outside are zero.

    Args:
        taps: [K], symmetric.
        axis: 2 = down the rows, 3 = along the columns.
        up, down: factors.
        before: zeros in front, at the upsampled rate.
        size_in, size_out: samples of the axis.

    Raises:
        ValueError: both factors at once.
    """

    taps: Tensor

    def __init__(
        self,
        taps: Tensor,
        *,
        axis: int,
        up: int = 1,
        down: int = 1,
        before: int = 0,
        size_in: int,
        size_out: int,
    ) -> None:
        super().__init__()
        if up > 1 and down > 1:
            raise ValueError(f"up {up} and down {down}: one of them must be 1")
        self.axis, self.up, self.down = axis, up, down
        self.register_buffer("taps", taps.float(), persistent=False)
        self.padding = self.more = 0
        if up > 1:
            # The transposed convolution begins where the last tap meets the first sample.
            start, whole = len(taps) - 1 - before, (size_in - 1) * up + len(taps)
            # It cuts both ends alike, and can add back less than `up` samples behind.
            behind = whole - start - size_out
            self.padding = max(min(start, behind + up - 1, (whole - 1) // 2), 0)
            length, front = whole - 2 * self.padding, self.padding - start
            self.more = size_out - length - front if 0 < size_out - length - front < up else 0
            self.pad = (front, size_out - front - length - self.more)
        else:
            self.pad = (before, (size_out - 1) * down + len(taps) - before - size_in)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same with size_out samples on the axis, channels last."""
        channels = x_NCHW.shape[1]
        x = x_NCHW.contiguous(memory_format=torch.channels_last)
        rows = self.axis == 2
        kernel = self.taps.view(1, 1, -1, 1) if rows else self.taps.view(1, 1, 1, -1)
        kernel = kernel.expand(channels, -1, -1, -1)
        if self.up == 1:
            stride = (self.down, 1) if rows else (1, self.down)
            return F.conv2d(self._padded(x), kernel, stride=stride, groups=channels)
        y = F.conv_transpose2d(
            x,
            kernel,
            stride=(self.up, 1) if rows else (1, self.up),
            padding=(self.padding, 0) if rows else (0, self.padding),
            output_padding=(self.more, 0) if rows else (0, self.more),
            groups=channels,
        )
        return self._padded(y)

    def _padded(self, x: Tensor) -> Tensor:
        """Put zeros at both ends of the axis, or cut."""
        if not any(self.pad):
            return x
        return F.pad(x, (0, 0, *self.pad) if self.axis == 2 else self.pad)
