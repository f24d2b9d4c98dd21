"""StyleGAN2's residual discriminator (Karras et al. 2020, section 4), in rosinality's layout.

No recipe of ours trains with it; it stands here so that the published one can be recomputed.

Legend: N samples, C channels, H W pixels, G size of a group.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.equalized import LEAK, EqualizedLinear


class ScaledConv(nn.Module):
    """Convolution with an equalised learning rate, behind a blur and a stride of 2 if asked for.

    Args:
        inputs, outputs: channels.
        side: of the kernel, odd.
        down: halve the resolution: blur by [1, 3, 3, 1], then a stride of 2 without padding.
        active: add a bias and apply leaky ReLU times sqrt(2).
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, *, down: bool = False, active: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs)) if active else None
        self.gain, self.down = 1 / math.sqrt(inputs * side**2), down

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the features, half as wide if `down`."""
        side = self.weight.shape[-1]
        if self.down:
            # As much zero padding as lets the strided kernel end where the image ends.
            rest = 2 + side - 1
            x_NCHW = _blurred(x_NCHW, ((rest + 1) // 2, rest // 2))
        padding = 0 if self.down else side // 2
        y = F.conv2d(x_NCHW, self.weight * self.gain, stride=1 + self.down, padding=padding)
        if self.bias is None:
            return y
        return F.leaky_relu(y + self.bias[:, None, None], LEAK) * math.sqrt(2)


def _blurred(x_NCHW: Tensor, padding: tuple[int, int]) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x_NCHW.device, dtype=x_NCHW.dtype) / 8
    kernel = torch.outer(taps, taps).expand(x_NCHW.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x_NCHW, (*padding, *padding)), kernel, groups=x_NCHW.shape[1])


class ResidualBlock(nn.Module):
    """Two convolutions, the second halving, beside a halving 1x1: their sum over sqrt(2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ScaledConv(inputs, inputs, 3)
        self.second = ScaledConv(inputs, outputs, 3, down=True)
        self.skip = ScaledConv(inputs, outputs, 1, down=True, active=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the features at half the resolution."""
        y: Tensor = self.second(self.first(x_NCHW)) + self.skip(x_NCHW)
        return y / math.sqrt(2)


class StyleGAN2Discriminator(nn.Module):
    """Images to one logit each.

    Args:
        widths: resolution -> channels, powers of two from 4 px to the images' size.
        group: samples that share a standard deviation at most.
        maps: of standard deviations.
    """

    def __init__(self, widths: dict[int, int], *, group: int = 4, maps: int = 1) -> None:
        super().__init__()
        sizes = sorted(widths, reverse=True)
        self.group, self.maps = group, maps
        self.from_rgb = ScaledConv(3, widths[sizes[0]], 1)
        self.blocks = nn.ModuleList(
            ResidualBlock(widths[size], widths[size // 2]) for size in sizes[:-1]
        )
        width = widths[4]
        self.last = ScaledConv(width + maps, width, 3)
        self.hidden = EqualizedLinear(width * 16, width, leaky=True)
        self.out = EqualizedLinear(width, 1)

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Return logits [N, 1] of images in [-1, 1]."""
        x = self.from_rgb(image_NCHW)
        for block in self.blocks:
            x = block(x)
        x = self.last(torch.cat([x, self._deviations(x)], dim=1))
        logit_N1: Tensor = self.out(self.hidden(x.flatten(1)))
        return logit_N1

    def _deviations(self, x_NCHW: Tensor) -> Tensor:
        """Return [N, maps, H, W]: how much the samples of a group differ (Karras et al. 2018)."""
        count, channels, height, width = x_NCHW.shape
        size = min(count, self.group)
        grouped = x_NCHW.view(size, -1, self.maps, channels // self.maps, height, width)
        deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt()
        mean = deviation.mean(dim=(2, 3, 4), keepdim=True).squeeze(2)
        return mean.repeat(size, 1, height, width)
