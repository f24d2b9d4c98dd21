"""What CLIP is shown of an image: the net's own resize, or one that a published code used.

Legend: N images, C channels, H W pixels, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor
from torch.nn import functional as F

from models.layers.precision import full_precision

Resize = Literal["net", "bicubic", "published"]
"""net: the frozen net's own (area averaging); bicubic: antialiased; published: bicubic without
antialias, as the authors' torchvision of 2021 did it."""

Embed = Callable[[Tensor], Tensor]
"""Images in [-1, 1] -> embeddings [N, E] of unit length."""


def shorter_side(image_NCHW: Tensor, size: int, *, antialias: bool) -> Tensor:
    """Resize the shorter side to `size` by bicubic interpolation, then cut out the middle square.

    Args:
        image_NCHW: of any size and range; nothing is clamped.
        size: in pixels.
        antialias: average before shrinking. Torch then takes another bicubic kernel (a = -0.5 in
            place of -0.75), also where it enlarges.
    """
    height, width = image_NCHW.shape[-2:]
    short = min(height, width)
    sides = (size * height // short, size * width // short)
    resized = F.interpolate(
        image_NCHW, size=sides, mode="bicubic", align_corners=False, antialias=antialias
    )
    top, left = round((sides[0] - size) / 2), round((sides[1] - size) / 2)
    return resized[:, :, top : top + size, left : left + size]


def enlarged_and_pooled(image_NCHW: Tensor, size: int = 224) -> Tensor:
    """Return [N, C, size, size] as published latent optimisation and mappers show it to CLIP.

    Each pixel is repeated seven times and the image averaged down. The published code neither
    brings it to [0, 1] nor normalises it; its weights of the other losses were found that way.
    """
    side = image_NCHW.shape[-1]
    wide = F.interpolate(image_NCHW, scale_factor=7, mode="nearest")
    return F.avg_pool2d(wide, 7 * side // size)


def embedder(net: Any, resize: Resize = "net") -> Embed:
    """Return what embeds images by a frozen CLIP (`models.features.ClipNet`), in float32."""

    def embed(image_NCHW: Tensor) -> Tensor:
        if resize != "net":
            antialias = resize == "bicubic"
            image_NCHW = shorter_side(image_NCHW, net.image_size, antialias=antialias)
        # Differences of two close embeddings lose too much in bfloat16.
        with full_precision(image_NCHW):
            pooled_NE = net(image_NCHW.float())["pooled"].float()
        return F.normalize(pooled_NE, dim=1)

    return embed
