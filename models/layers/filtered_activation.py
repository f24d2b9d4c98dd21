"""Leaky ReLU between an upsampling and a downsampling, so that it makes no aliases.

Karras et al. 2021, section 3.2 and appendix D. In plain torch and within a bounded amount of
memory.

Legend: N samples, C channels, H W pixels, U size at the high rate.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.layers.axis_filter import AxisFilter
from models.layers.equalized import LEAK
from models.layers.precision import full_precision

MEMORY_ELEMENTS = 2**24  # 64 MiB in float32


class BoundedLeak(torch.autograd.Function):
    """Leaky ReLU, then a clamp, in the memory of the input: at the high rate every copy counts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        """Overwrite x, whose sign and place inside or at the bound tell the slope."""
        y = F.leaky_relu_(x, LEAK).clamp_(-bound, bound)
        ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        ctx.bound = bound
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Scale by the slope, which is constant in pieces and so has no gradient of its own."""
        (saved,) = ctx.saved_tensors
        y = saved.detach()
        gradient = torch.ops.aten.leaky_relu_backward(gradient, y, LEAK, True)
        return torch.ops.aten.hardtanh_backward(gradient, y, -ctx.bound, ctx.bound), None


class FilteredLeakyReLU(nn.Module):
    """Upsample, leaky ReLU times sqrt(2), clamp, downsample; in float32.

    The activations at the high rate are 4 or more times the features and would be kept for the
    backward pass. Channels do not mix here, so beyond `memory_elements` they are taken a few at a
    time, and their activations are computed again in the backward pass: what is stored is the
    input.

    Args:
        up_taps: [K], unit sum.
        down_taps: [K], unit sum, or [K, K] for a filter that is no product (radial).
        up, down: factors.
        size_in, size_out: H = W before and after.
        clamp: bound of the activations, after the gain; None = none.
        memory_elements: largest tensor at the high rate.
    """

    up_taps: Tensor
    down_taps: Tensor

    def __init__(
        self,
        up_taps: Tensor,
        down_taps: Tensor,
        *,
        up: int,
        down: int,
        size_in: int,
        size_out: int,
        clamp: float | None = 256.0,
        memory_elements: int = MEMORY_ELEMENTS,
    ) -> None:
        super().__init__()
        self.clamp, self.memory_elements, self.down = clamp, memory_elements, down
        num_down = down_taps.shape[-1]
        # All of the high-rate samples that the outputs read, and no more.
        self.size_high = (size_out - 1) * down + num_down
        pad = self.size_high + len(up_taps) - 1 - size_in * up
        # Zero insertion leaves up - 1 zeros at the end, so the front gets half of those more.
        before = (pad + up) // 2
        # Leaky ReLU commutes with a positive factor: its gain goes into the taps of both axes.
        taps, sizes = up_taps * (up * 2**0.25), {"size_in": size_in, "size_out": self.size_high}
        self.raise_rate = nn.Sequential(
            *(AxisFilter(taps, axis=axis, up=up, before=before, **sizes) for axis in (3, 2))
        )
        self.lower_rate: nn.Module | None = None
        self.register_buffer("up_taps", up_taps.float(), persistent=False)
        self.register_buffer("down_taps", down_taps.float(), persistent=False)
        if down_taps.ndim == 1:
            sizes = {"size_in": self.size_high, "size_out": size_out}
            self.lower_rate = nn.Sequential(
                *(AxisFilter(down_taps, axis=axis, down=down, **sizes) for axis in (2, 3))
            )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return [N, C, size_out, size_out] in the dtype of x."""
        with full_precision(x_NCHW):
            x = x_NCHW.float()
            channels = self.memory_elements // (x.shape[0] * self.size_high**2)
            if channels >= x.shape[1]:
                y = self._filtered(x)
            else:
                y = torch.cat([self._later(part) for part in x.split(max(channels, 1), dim=1)], 1)
        return y.to(x_NCHW.dtype)

    def _later(self, x: Tensor) -> Tensor:
        """Compute now and, for the gradient, once more."""
        if not torch.is_grad_enabled():
            return self._filtered(x)
        result: Any = checkpoint(self._filtered, x, use_reentrant=False, preserve_rng_state=False)
        return result

    def _filtered(self, x: Tensor) -> Tensor:
        y = self.raise_rate(x)
        bound = math.inf if self.clamp is None else self.clamp
        if torch.compiler.is_compiling():
            y = F.leaky_relu(y, LEAK).clamp(-bound, bound)
        else:
            y = BoundedLeak.apply(y, bound)
        if self.lower_rate is not None:
            y = self.lower_rate(y)
        else:
            channels = y.shape[1]
            kernel = self.down_taps.expand(channels, 1, -1, -1)
            y = F.conv2d(y, kernel, stride=self.down, groups=channels)
        return y
