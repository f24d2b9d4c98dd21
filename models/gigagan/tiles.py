"""Enlarge images of any size by tiles, with a second pass over the seams of the first.

Legend: H W pixels of the small image, t side of a tile, f factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

Enlarge = Callable[[Tensor], Tensor]
"""Tiles [n, 3, t, t] -> [n, 3, f t, f t]."""

Blend = Literal["smooth", "equal", "none"]
"""How two passes mix: each by its distance from the seams, half and half; none: one pass."""


def tile_weights(side: int) -> Tensor:
    """Return [side, side]: how much a tile's pixel counts in a blend, 1 in the middle.

    exp(-d^2 / 0.5)^8 of the distance d to the middle, as AuraSR blends.
    """
    line = torch.linspace(-1, 1, side).square()
    weights = (-(line[:, None] + line[None]) / 0.5).exp() ** 8
    return weights / weights.max()


def shifted_half(tiles: Tensor, side: int) -> Tensor:
    """Return a plane of whole tiles moved by half a tile down and to the right, cyclically."""
    return tiles.roll((side // 2, side // 2), (-2, -1))


def mirrored(image_3HW: Tensor, left: int, right: int, top: int, below: int) -> Tensor:
    """Pad by mirroring without repeating the edge, as often as a small image needs."""
    for axis, before, after in ((2, left, right), (1, top, below)):
        size = image_3HW.shape[axis]
        period = max(2 * (size - 1), 1)
        place = torch.arange(-before, size + after, device=image_3HW.device) % period
        image_3HW = image_3HW.index_select(axis, torch.minimum(place, period - place))
    return image_3HW


def upscale_strips(
    image_3HW: Tensor,
    enlarge: Enlarge,
    *,
    side: int,
    factor: int,
    blend: Blend = "smooth",
    batch: int = 4,
) -> Iterator[Tensor]:
    """Yield the large image as strips of rows [3, h, f W], from the top.

    Two rows of large tiles are in memory at once, whatever the image's height.

    Args:
        image_3HW: of any size; the right and the bottom edge are mirrored to whole tiles.
        enlarge: what makes tiles large; called with at most `batch` at once.
        side: t, even.
        factor: f.
        blend: how the seams of the first pass are hidden.
        batch: tiles at once.
    """
    height, width = image_3HW.shape[1:]
    first = mirrored(image_3HW, 0, -width % side, 0, -height % side)
    large, half = side * factor, side * factor // 2
    weight = tile_weights(large) if blend == "smooth" else torch.ones(large, large)
    weight = weight.to(first).repeat(1, first.shape[2] // side)
    other = shifted_half(weight, large)
    margin = side // 2
    second = mirrored(first, margin, margin, margin, margin) if blend != "none" else None
    above: Tensor | None = None  # the second pass' row that hangs over from the strip before
    for top in range(0, first.shape[1], side):
        strip = _row(first[:, top : top + side], enlarge, side, batch)
        if second is not None:
            if above is None:
                above = _row(second[:, :side], enlarge, side, batch)[:, :, half:-half]
            row = second[:, top + side : top + 2 * side]
            below = _row(row, enlarge, side, batch)[:, :, half:-half]
            seamless = torch.cat([above[:, half:], below[:, :half]], dim=1)
            strip = (strip * weight + seamless * other) / (weight + other)
            above = below
        yield strip[:, : (height - top) * factor, : width * factor]


def _row(strip_3tW: Tensor, enlarge: Enlarge, side: int, batch: int) -> Tensor:
    """Return a row of tiles, enlarged."""
    tiles = torch.stack(strip_3tW.split(side, dim=2))
    parts = [enlarge(tiles[i : i + batch]) for i in range(0, len(tiles), batch)]
    return torch.cat([tile for part in parts for tile in part], dim=2)
