"""Convolutions whose kernel is chosen for each sample (Kang et al. 2023, section 3.1).

A bank of N kernels is mixed by softmax weights that follow from w, then modulated and demodulated
as in StyleGAN2. The mixed kernel is never modulated itself: scaling the input by the style and the
output by the demodulation is the same map, and with N = 1 no kernel per sample is formed at all.

Legend: B samples, N kernels of a bank, I/O channels in/out, k kernel side, H W pixels, D width of
w.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.equalized import LEAK, EqualizedLinear
from models.layers.modulated_conv import demodulation, modulated_convolution
from models.layers.precision import full_precision
from models.layers.resampling import smooth_after_transposed, upsample_rgb
from models.layers.style_space import Kind, Steering

EPS = 1e-8
OFFSETS = 27  # of a deformable 3x3 kernel: a shift in y and x and a mask for each of its 9 taps


def mixed_kernels(bank_NOIkk: Tensor, share_BN: Tensor) -> Tensor:
    """Return one kernel per sample [B, O, I, k, k], sum_n share_n bank_n, as a matrix product."""
    return (share_BN.to(bank_NOIkk.dtype) @ bank_NOIkk.flatten(1)).view(
        len(share_BN), *bank_NOIkk.shape[1:]
    )


def kernel_demodulation(style_BI: Tensor, kernel_BOIkk: Tensor) -> Tensor:
    """Return d [B, O] = rsqrt(sum_ikk (kernel style)^2 + eps), float32."""
    with full_precision(style_BI):
        energy_BOI = kernel_BOIkk.float().square().sum(dim=(3, 4))
        total_BO = (energy_BOI @ style_BI.float().square()[:, :, None]).squeeze(2)
        return (total_BO + EPS).rsqrt()


def convolve_each(x_BIHW: Tensor, kernel_BOIkk: Tensor, *, up: bool = False) -> Tensor:
    """Convolve each sample with its own kernel, size kept, or doubled as `modulated_convolution`
    does it.
    """
    b, o, i, k, _ = kernel_BOIkk.shape
    height, width = x_BIHW.shape[2:]
    x = x_BIHW.reshape(1, b * i, height, width)
    kernel = kernel_BOIkk.to(x.dtype)
    if up:
        turned = kernel.transpose(1, 2).reshape(b * i, o, k, k)
        wide = F.conv_transpose2d(x, turned, stride=2, groups=b)
        return smooth_after_transposed(wide.view(b, o, *wide.shape[2:]))
    y = F.conv2d(x, kernel.reshape(b * o, i, k, k), padding=k // 2, groups=b)
    return y.view(b, o, height, width)


def adaptive_convolution(
    x_BIHW: Tensor,
    bank_NOIkk: Tensor,
    style_BI: Tensor,
    share_BN: Tensor | None,
    *,
    demodulate: bool = True,
    up: bool = False,
) -> Tensor:
    """Return [B, O, H, W] (or twice the size if `up`): mix, modulate, demodulate, convolve.

    Args:
        x_BIHW: features.
        bank_NOIkk: N kernels, no equalisation.
        style_BI: scale of each input channel.
        share_BN: each kernel's share, rows of sum 1; None where the bank holds one kernel.
        demodulate: divide each output by the norm of its modulated kernel.
        up: double the resolution; after the convolution where its kernel is 1x1.
    """
    if up and bank_NOIkk.shape[-1] == 1:
        y = adaptive_convolution(
            *(x_BIHW, bank_NOIkk, style_BI, share_BN), demodulate=demodulate, up=False
        )
        return upsample_rgb(y)
    if share_BN is None:
        kernel_OIkk = bank_NOIkk[0].to(x_BIHW.dtype)
        y = modulated_convolution(x_BIHW, kernel_OIkk, style_BI, up=up)
        scale_BO = demodulation(style_BI, bank_NOIkk[0], EPS) if demodulate else None
    else:
        kernel_BOIkk = mixed_kernels(bank_NOIkk, share_BN)
        scaled = x_BIHW * style_BI.to(x_BIHW.dtype)[:, :, None, None]
        y = convolve_each(scaled, kernel_BOIkk, up=up)
        scale_BO = kernel_demodulation(style_BI, kernel_BOIkk) if demodulate else None
    return y if scale_BO is None else y * scale_BO.to(y.dtype)[:, :, None, None]


class AdaptiveConv(nn.Module):
    """An adaptive convolution with the affine maps that w drives it by, a bias and a leaky ReLU.

    Args:
        in_channels, out_channels: I, O.
        w_dim: D.
        kernel_size: odd k.
        num_kernels: N.
        demodulate: False: the kernel is scaled by 1 / sqrt(I k k) instead.
        up: double the resolution.
        leaky: leaky ReLU times sqrt(2) at the end.
        deformable: the taps move, by shifts that a second, modulated convolution of the input
            predicts; 3x3 only, and not with `up`. Aurora's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        *,
        kernel_size: int = 3,
        num_kernels: int = 1,
        demodulate: bool = True,
        up: bool = False,
        leaky: bool = True,
        deformable: bool = False,
    ) -> None:
        super().__init__()
        self.demodulate, self.up, self.leaky = demodulate, up, leaky
        self.style_kind: Kind = "conv" if demodulate else "rgb"  # S-space (style_space.py)
        # The bank's kernels one after the other: four axes, which any memory order suits.
        self.num_kernels = num_kernels
        size = (num_kernels * out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style = EqualizedLinear(w_dim, in_channels, bias_init=1.0)
        self.select: Steering | None = None
        if num_kernels > 1:
            self.select = Steering(w_dim, num_kernels)
        self.gain = 1.0 if demodulate else 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.taps: TapShifts | None = TapShifts(in_channels, w_dim) if deformable else None

    def bank(self) -> Tensor:
        """Return the kernels [N, O, I, k, k]."""
        return self.weight.unflatten(0, (self.num_kernels, -1))

    def shares(self, w_BD: Tensor) -> Tensor | None:
        """Return each kernel's share [B, N]; None for a bank of one."""
        return None if self.select is None else self.select(w_BD).softmax(dim=1)

    def forward(self, x_BIHW: Tensor, w_BD: Tensor) -> Tensor:
        """Return features [B, O, H, W], or of twice the size if `up`."""
        style_BI, share_BN = self.style(w_BD), self.shares(w_BD)
        if not self.demodulate:
            style_BI = style_BI * self.gain
        if self.taps is not None:
            y = self._deformed(x_BIHW, style_BI, share_BN, self.taps(x_BIHW, w_BD))
        else:
            y = adaptive_convolution(
                *(x_BIHW, self.bank(), style_BI, share_BN),
                demodulate=self.demodulate,
                up=self.up,
            )
        y = y + self.bias.to(y.dtype)[:, None, None]
        return F.leaky_relu(y, LEAK) * math.sqrt(2) if self.leaky else y

    def _deformed(
        self, x_BIHW: Tensor, style_BI: Tensor, share_BN: Tensor | None, taps_BTHW: Tensor
    ) -> Tensor:
        """Convolve sample by sample, for each has its own kernel and its own shifts."""
        from torchvision.ops import deform_conv2d

        if share_BN is None:
            kernel_BOIkk = self.bank().expand(len(x_BIHW), -1, -1, -1, -1)
        else:
            kernel_BOIkk = mixed_kernels(self.bank(), share_BN)
        scaled = (x_BIHW * style_BI.to(x_BIHW.dtype)[:, :, None, None]).float()
        shift, mask = taps_BTHW[:, :18].float(), 2 * taps_BTHW[:, 18:].float().sigmoid()
        rows = [
            deform_conv2d(scaled[n, None], shift[n, None], kernel, padding=1, mask=mask[n, None])
            for n, kernel in enumerate(kernel_BOIkk.float())
        ]
        y = torch.cat(rows)
        if not self.demodulate:
            return y
        return y * kernel_demodulation(style_BI, kernel_BOIkk)[:, :, None, None]


class TapShifts(nn.Module):
    """Predict the shifts and masks of a deformable 3x3 kernel; all zero at the start.

    Args:
        channels: I.
        w_dim: D.
    """

    style_kind: ClassVar[Kind] = "steer"

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(OFFSETS, channels, 3, 3))
        self.scale = nn.Parameter(torch.zeros(OFFSETS))
        self.bias = nn.Parameter(torch.zeros(OFFSETS))
        self.style = EqualizedLinear(w_dim, channels, bias_init=1.0)

    def forward(self, x_BIHW: Tensor, w_BD: Tensor) -> Tensor:
        """Return [B, 27, H, W]: 9 shifts (y, x) in pixels, then 9 masks before the sigmoid."""
        y: Any = adaptive_convolution(x_BIHW, self.weight[None], self.style(w_BD), None)
        return y * self.scale[:, None, None] + self.bias[:, None, None]
