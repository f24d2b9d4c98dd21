"""Layers and blocks of StyleGAN-T's synthesis network (Sauer et al. 2023, section 3.1).

Legend: N samples, C channels, H W pixels, D width of w, K entries of w that a block reads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.fourier import FourierInput
from models.layers.modulated_layer import ModulatedLayer, ToRGB
from models.layers.precision import full_precision
from models.layers.resampling import upsample_rgb


class ResidualLayer(ModulatedLayer):
    """Residual branch on the NORMALISED input n = group norm(x): (gamma f(n) + n) sqrt(2).

    The skip carries the normalised input, not the input: the norm acts after the previous sum, and
    the new branch starts with a weight of 1e-5 (LayerScale), so that depth does not hurt early
    training.
    """

    def __init__(
        self, channels: int, *, w_dim: int, resolution: int, gain: float, num_groups: int
    ) -> None:
        super().__init__(channels, channels, w_dim=w_dim, resolution=resolution, gain=gain)
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-5)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-5))

    def forward(self, x_NCHW: Tensor, w_ND: Tensor, noise: Tensor | None) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        root = math.sqrt(2)
        with full_precision(x_NCHW):
            # The final sqrt(2) goes into the norm's affine, and out of the style again: a pass
            # less.
            weight, bias = self.norm.weight * root, self.norm.bias * root
            normal = F.group_norm(x_NCHW.float(), self.norm.num_groups, weight, bias, self.norm.eps)
        normal = normal.to(x_NCHW.dtype)
        y = self.convolve(normal, self.style(w_ND), noise, input_gain=root)
        gamma = (self.gamma * root).to(y.dtype)[:, None, None]
        return torch.addcmul(normal.to(y.dtype), y, gamma)


class SynthesisBlock(nn.Module):
    """One resolution: Fourier input or up-convolution, residual pairs, contribution to the image.

    Reads num_convs + 1 entries of w; ToRGB's is shared with the next block's first layer.

    Args:
        in_channels: width of the block before; 0 for the first block.
        channels: width.
        w_dim: D.
        resolution: in pixels.
        num_res_blocks: pairs of a plain and a residual layer.
        num_groups: groups of the group norm.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        w_dim: int,
        resolution: int,
        num_res_blocks: int,
        num_groups: int,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.num_convs = 1 + 2 * num_res_blocks
        if in_channels == 0:
            self.first: nn.Module = FourierInput(
                w_dim, channels, size=resolution, sampling_rate=resolution, bandwidth=2
            )
        else:
            self.first = ModulatedLayer(
                in_channels, channels, w_dim=w_dim, resolution=resolution, up=True
            )
        layers: list[nn.Module] = []
        sizes: dict[str, Any] = {"w_dim": w_dim, "resolution": resolution, "gain": math.sqrt(0.5)}
        for _ in range(num_res_blocks):
            layers.append(ModulatedLayer(channels, channels, **sizes))
            layers.append(ResidualLayer(channels, **sizes, num_groups=num_groups))
        self.layers = nn.ModuleList(layers)
        self.to_rgb = ToRGB(channels, w_dim=w_dim)

    def noisy_layers(self) -> list[ModulatedLayer]:
        """Return the layers that take noise, in order."""
        return [x for x in (self.first, *self.layers) if isinstance(x, ModulatedLayer)]

    def forward(
        self,
        x_NCHW: Tensor | None,
        image_N3HW: Tensor | None,
        ws_NKD: Tensor,
        noises: list[Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """Return the features and the image so far (float32), at this block's resolution.

        Args:
            x_NCHW: features of the block before; None for the first block.
            image_N3HW: its image; None for the first block.
            ws_NKD: this block's entries, K = num_convs + 1.
            noises: one per noisy layer.
        """
        codes, noises = list(ws_NKD.unbind(dim=1)), list(noises)
        x = self.first(codes[0]) if x_NCHW is None else self.first(x_NCHW, codes[0], noises.pop(0))
        for layer, w_ND, noise in zip(self.layers, codes[1:-1], noises, strict=True):
            x = layer(x, w_ND, noise)
        rgb = self.to_rgb(x, codes[-1])
        if image_N3HW is not None:
            with full_precision(rgb):
                rgb = upsample_rgb(image_N3HW) + rgb
        return x, rgb
