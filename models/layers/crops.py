"""Random square crops, drawn for each sample.

Deviation: the published code draws one crop for a whole micro-batch; drawing per sample makes the
result independent of how a batch is cut, and lowers the variance.

Legend: N samples, C channels, H W pixels, S side of the crop.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def random_crop(x_NCHW: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """Return one crop of `size` px per sample; smaller images come back as they are."""
    n, channels, height, width = x_NCHW.shape
    if height <= size and width <= size:
        return x_NCHW
    device = x_NCHW.device
    high, wide = min(size, height), min(size, width)
    top = torch.randint(height - high + 1, (n, 1, 1), generator=rng, device=device)
    left = torch.randint(width - wide + 1, (n, 1, 1), generator=rng, device=device)
    rows = torch.arange(high, device=device)[None, :, None] + top
    columns = torch.arange(wide, device=device)[None, None, :] + left
    index_N1P = (rows * width + columns).view(n, 1, -1).expand(-1, channels, -1)
    return x_NCHW.flatten(2).gather(2, index_N1P).view(n, channels, high, wide)


def crop_or_shrink(
    x_NCHW: Tensor, size: int, rng: torch.Generator, probability: float = 0.5
) -> Tensor:
    """Bring images above `size` to it by a random crop or an area resize (StyleGAN-T, 3.2).

    Args:
        x_NCHW: images.
        size: side of the result, in pixels.
        rng: generator on the images' device.
        probability: of the crop, for each sample.

    Returns:
        [N, C, size, size]; images of at most `size` come back as they are.
    """
    n, height, width = x_NCHW.shape[0], x_NCHW.shape[2], x_NCHW.shape[3]
    if height <= size or width <= size:
        return x_NCHW
    crops = random_crop(x_NCHW, size, rng)
    whole = F.interpolate(x_NCHW, (size, size), mode="area")
    take = torch.rand((n, 1, 1, 1), generator=rng, device=x_NCHW.device) < probability
    return torch.where(take, crops, whole)
