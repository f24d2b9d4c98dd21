"""The small convolutional trunk of the nets that are trained here: judge and CLIP image tower.

Legend: N samples, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvTrunk(nn.Module):
    """3 x 3 convolutions with batch norm; mean and maximum of the last map, side by side.

    The last map must still have several places: the maximum finds a small shape wherever it is,
    where a flattened map would have to learn every shape at every place.

    Args:
        widths: channels of each convolution.
        strides: step of each convolution.
        channels: of the input.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in zip([channels, *widths[:-1]], widths, strides, strict=True):
            convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.width = 2 * widths[-1]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return pooled features [N, width]."""
        x = self.layers(x_NCHW)
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
