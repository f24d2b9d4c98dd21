"""Prepare the project's images for a frozen net: area resize, then normalisation.

Mean and standard deviation are those that the net was trained with.

Legend: N samples, C channels, H W pixels. Source: StyleGAN-T's discriminator and guidance, which
resize with `interpolate(mode="area")` and normalise with the net's own statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def area_resize(image_NCHW: Tensor, size: int) -> Tensor:
    """Resize to size x size by area averaging; upwards, each output pixel averages the pixels it
    touches.

    Whole factors take average pooling or nearest copies: the same numbers, but both have a
    deterministic gradient on CUDA, which adaptive pooling (what "area" is) has not.
    """
    height, width = image_NCHW.shape[-2:]
    if height == width == size:
        return image_NCHW
    if height % size == 0 and width % size == 0:
        return F.avg_pool2d(image_NCHW, (height // size, width // size))
    if size % height == 0 and size % width == 0:
        return F.interpolate(image_NCHW, size=(size, size), mode="nearest")
    return F.interpolate(image_NCHW, size=(size, size), mode="area")


class Preprocess(nn.Module):
    """Resize and normalise: [-1, 1] at any size -> the input of one frozen net.

    Args:
        image_size_px: side of the net's square input.
        mean, std: per channel, of images in [0, 1] (how timm and open_clip state them).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_size_px: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.image_size_px = image_size_px
        # Not part of the state: they stand in the card, and a weights file of the hub has no such
        # entry.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Return the normalised input [N, 3, size, size] of an image in [-1, 1]."""
        if image_NCHW.ndim != 4 or image_NCHW.shape[1] != 3:
            raise ValueError(f"wanted images [N, 3, H, W], got {list(image_NCHW.shape)}")
        return self.normalise(area_resize(image_NCHW, self.image_size_px))

    def normalise(self, image_NCHW: Tensor) -> Tensor:
        """Return the normalised input of an image in [-1, 1], its size kept."""
        return ((image_NCHW + 1) / 2 - self.mean) / self.std
