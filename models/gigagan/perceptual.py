"""How far apart two images are to a frozen network.

Legend: N images, P squares of each, C channels, s side of a map.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.gigagan.vision_aided import taps_of


def perceptual(net: Any, image_NCHW: Tensor, real_NCHW: Tensor) -> Tensor:
    """Return [N]: squared distance of features of unit length, averaged over places, summed over
    maps (LPIPS of Zhang et al. 2018 without its learned weights); of a net with a distance of its
    own, which is LPIPS with them, that one.
    """
    if hasattr(net, "distance"):
        found: Tensor = net.distance(image_NCHW, real_NCHW.to(image_NCHW))
        return found
    total = torch.zeros(len(image_NCHW), device=image_NCHW.device)
    with torch.no_grad():
        wanted = feature_maps(net, real_NCHW.to(image_NCHW))
    for x, real in zip(feature_maps(net, image_NCHW), wanted, strict=True):
        apart = F.normalize(x.float(), dim=1) - F.normalize(real.float(), dim=1)
        far = apart.square().sum(dim=1).mean(dim=(1, 2))
        total = total + far.unflatten(0, (len(image_NCHW), -1)).mean(dim=1)
    return total


def feature_maps(net: Any, image_NCHW: Tensor) -> list[Tensor]:
    """Return what a frozen net sees of images, [N P, C, s, s]: a CNN of each whole image, at its
    own size (P = 1); a transformer, which has one size, of the P squares of that size in it.
    """
    size = image_NCHW.shape[-1]
    if hasattr(net, "pyramid"):
        return list(net.pyramid(image_NCHW, size).values())
    side = net.image_size
    if size > side and size % side == 0:
        cut = image_NCHW.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        image_NCHW = cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return [x for x in taps_of(net, image_NCHW) if x.ndim == 4]
