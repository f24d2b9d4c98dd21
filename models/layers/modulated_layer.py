"""Style-modulated layers with noise, and the layers that turn their features into an image.

Karras et al. 2020, section 2.

Legend: N samples, C channels, H W pixels, D width of w, I inputs, O outputs.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.equalized import LEAK
from models.layers.modulated_conv import demodulation, modulated_convolution, weight_energy
from models.layers.short_convolution import short_convolution, short_weight
from models.layers.styles import SecondOrderStyle

CLAMP = 256.0  # bound of activations, before an activation gain below one


class ModulatedLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    Args:
        in_channels, out_channels: widths.
        w_dim: D.
        resolution: of the output, in pixels; the size of the stored noise.
        up: double the resolution.
        gain: of the activation, on top of sqrt(2).
        style: w [N, D] -> scales [N, in_channels]; default: second-order.
        clamp: bound of the activations before `gain`; None = none.
    """

    style_kind: ClassVar[str] = "conv"  # it takes part in S-space (style_space.py)
    noise_const: Tensor
    energy_OI: Tensor | None
    short_16IO: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        resolution: int,
        up: bool = False,
        gain: float = 1.0,
        style: nn.Module | None = None,
        clamp: float | None = CLAMP,
    ) -> None:
        super().__init__()
        self.up, self.gain, self.clamp = up, gain, clamp
        self.style = SecondOrderStyle(w_dim, in_channels) if style is None else style
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("energy_OI", None, persistent=False)
        self.register_buffer("short_16IO", None, persistent=False)

    @torch.no_grad()
    def cache_weights(self, dtype: torch.dtype, *, compiled: bool = False) -> None:
        """Fix the demodulation's sums (float32), then hold the weights in `dtype`, for sampling."""
        self.energy_OI = weight_energy(self.weight)
        # A compiler fuses what surrounds the direct form, and cannot see into the short one.
        plain = dtype is torch.float32 and self.weight.device.type == "cpu" and not compiled
        if plain and not self.up:
            self.short_16IO = short_weight(self.weight)
        weight = self.weight.to(dtype)
        if self.up:  # the transposed convolution reads the weights transposed
            weight = weight.transpose(0, 1).contiguous().transpose(0, 1)
        self.weight.data = weight

    def forward(self, x_NCHW: Tensor, w_ND: Tensor, noise: Tensor | None) -> Tensor:
        """Map features; `noise` broadcasts to [N, 1, H, W]; None adds none."""
        return self.convolve(x_NCHW, self.style(w_ND), noise)

    def convolve(
        self, x_NCHW: Tensor, style_NC: Tensor, noise: Tensor | None, input_gain: float = 1.0
    ) -> Tensor:
        """Convolve, add noise and bias, activate; x is `input_gain` times what the formula takes.

        Leaky ReLU commutes with a positive factor, so its gain goes into the demodulation and the
        bias: one pass over the features less. Noise comes before the activation and after the
        demodulation, as published.
        """
        gain = self.gain * math.sqrt(2)
        scale_NC = demodulation(style_NC, self.weight, energy_OI=self.energy_OI) * gain
        y = self._product(x_NCHW, style_NC / input_gain)
        shift = self._shift(noise, gain, like=y).to(y.dtype)
        y = torch.addcmul(shift, y, scale_NC.to(y.dtype)[:, :, None, None])
        y = F.leaky_relu(y, LEAK, inplace=True)
        if self.clamp is None:
            return y
        bound = self.clamp * self.gain
        return F.hardtanh(y, -bound, bound)  # a clamp whose backward pass costs a quarter

    def _product(self, x_NCHW: Tensor, style_NC: Tensor) -> Tensor:
        """Return the modulated convolution, by fewer products where the weights are held for it."""
        if self.short_16IO is not None:
            return short_convolution(x_NCHW * style_NC[:, :, None, None], self.short_16IO)
        return modulated_convolution(x_NCHW, self.weight, style_NC, up=self.up)

    def _shift(self, noise: Tensor | None, gain: float, like: Tensor) -> Tensor:
        """Return bias plus noise in the memory order of the features `like`.

        The sum that they go into takes the order of its first term; two orders in one network cost
        a third of its time on a CPU.
        """
        bias = self.bias * gain
        if noise is None:
            return bias[:, None, None]
        if like.is_contiguous(memory_format=torch.channels_last):
            drawn_NHW1 = noise.reshape(-1, *noise.shape[-2:], 1) * (self.noise_strength * gain)
            return (drawn_NHW1 + bias).permute(0, 3, 1, 2)
        return bias[:, None, None] + noise * (self.noise_strength * gain)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to an image without demodulation.

    Args:
        channels: width.
        w_dim: D.
        style, clamp: see `ModulatedLayer`.
        weight_init: standard deviation of the weights.
        image_channels: of the image.
    """

    style_kind: ClassVar[str] = "rgb"

    def __init__(
        self,
        channels: int,
        *,
        w_dim: int,
        style: nn.Module | None = None,
        clamp: float | None = CLAMP,
        weight_init: float = 0.1,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        self.style = SecondOrderStyle(w_dim, channels) if style is None else style
        self.weight = nn.Parameter(torch.randn(image_channels, channels) * weight_init)
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.style_gain, self.clamp = 1 / math.sqrt(channels), clamp

    def forward(self, x_NCHW: Tensor, w_ND: Tensor) -> Tensor:
        """Return [N, 3, H, W] in float32.

        Per-sample weights are right here: 3 C numbers per image, less than one row of pixels,
        against a scaled copy of all features.
        """
        style_NC = self.style(w_ND) * self.style_gain
        weight_N3C = (self.weight * style_NC[:, None, :]).to(x_NCHW.dtype)
        rgb = torch.einsum("noc,nchw->nohw", weight_N3C, x_NCHW).float()
        rgb = rgb + self.bias[:, None, None]
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)
