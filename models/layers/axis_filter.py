"""Upsample, filter and downsample along one axis of an image, as depthwise convolutions.

Each of the `up` phases of the output is a convolution of its own over the input, so no product with
an inserted zero is computed. In channels-last memory these are the fast kernels of a CPU
(docs/log.md has the times); on a GPU they were not measured.

Legend: N samples, C channels, H W pixels, Q outputs of one phase, J taps of one phase.
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
    """

    kernels_RJ: Tensor

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
        self.axis, self.up, self.down, self.size_out = axis, up, down, size_out
        first = -(before // up)  # the input that the first output's first tap meets
        last = (len(taps) - 1 + up - 1 - before) // up  # and the last tap of the first `up` outputs
        num_phase = -(-size_out // up)
        front, behind = -first, (num_phase - 1) * down + last + 1 - size_in
        # The convolution pads both ends alike; taps that are zero make up for the difference.
        self.padding = max(front, behind, 0)
        self.cut = (0, 0) if self.padding else (-front, -behind)
        if self.padding:
            first, last = -self.padding, last + self.padding - behind
        j = torch.arange(first, last + 1, device="cpu")[None, :]
        k = j * up + before - torch.arange(up, device="cpu")[:, None]
        inside = (k >= 0) & (k < len(taps))
        kernels = torch.where(inside, taps[k.clamp(0, len(taps) - 1)], 0.0)
        self.register_buffer("kernels_RJ", kernels.float(), persistent=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same with size_out samples on the axis, channels last."""
        axis, channels = self.axis, x_NCHW.shape[1]
        x = x_NCHW.contiguous(memory_format=torch.channels_last)
        if self.cut[0] or self.cut[1]:
            x = x.narrow(axis, self.cut[0], x.shape[axis] - sum(self.cut))
        shape = (channels, 1, -1, 1) if axis == 2 else (channels, 1, 1, -1)
        stride = (self.down, 1) if axis == 2 else (1, self.down)
        padding = (self.padding, 0) if axis == 2 else (0, self.padding)
        phases = [
            F.conv2d(
                x,
                kernel_J.expand(channels, -1).reshape(shape),
                stride=stride,
                padding=padding,
                groups=channels,
            )
            for kernel_J in self.kernels_RJ
        ]
        y = phases[0] if self.up == 1 else self._interleave(phases)
        return y if y.shape[axis] == self.size_out else y.narrow(axis, 0, self.size_out)

    def _interleave(self, phases: list[Tensor]) -> Tensor:
        """Put the phases' outputs in turn; in memory the channels stay last."""
        axis = self.axis - 1  # of [N, H, W, C]
        y = torch.stack([phase.permute(0, 2, 3, 1) for phase in phases], dim=axis + 1)
        return y.flatten(axis, axis + 1).permute(0, 3, 1, 2)
