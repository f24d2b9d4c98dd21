"""Enlarge images of any size by tiles, with a second pass over the seams of the first.

Legend: H W pixels of the small image, t side of a tile, f factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.interfaces import Blend

Enlarge = Callable[[Tensor], Tensor]
"""Tiles [n, 3, t, t] -> [n, 3, f t, f t]."""


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


def mirrored(places: Tensor, size: int) -> Tensor:
    """Return places on a line as places in [0, size), mirrored at its ends as often as needed
    without repeating them.
    """
    period = max(2 * (size - 1), 1)
    places = places % period
    return torch.minimum(places, period - places)


def upscale_strips(
    image_3HW: Tensor,
    enlarge: Enlarge,
    *,
    side: int,
    factor: int,
    blend: Blend = "smooth",
    batch: int = 4,
) -> Iterator[Tensor]:
    """Yield the large image as strips of rows [3, h, f W], from the top, in the type that `enlarge`
    gives.

    Beside the small image, a strip and half a strip are in memory at once: they grow with the
    image's width, nothing grows with its height.

    Args:
        image_3HW: of any size and type; the right and the bottom edge are mirrored to whole tiles.
        enlarge: what makes tiles large, floats; called with at most `batch` at once.
        side: t, even.
        factor: f.
        blend: how the seams of the first pass are hidden.
        batch: tiles at once.
    """
    height, width = image_3HW.shape[1:]
    columns, large = -(-width // side), side * factor
    half = large // 2
    second = blend != "none"
    mix = _shares(large, blend)
    hanging: list[Tensor] = []  # lower halves of the second pass' tiles, from the strip before
    if second:
        row = _row(image_3HW, enlarge, -side // 2, columns + 1, side, batch, shifted=True)
        hanging = [tile[:, half:] for tile in row]
    for top in range(0, height, side):
        strip: Tensor | None = None
        below: list[Tensor] = []
        row = _row(image_3HW, enlarge, top + side // 2, columns + 1, side, batch, shifted=True)
        if second:
            below.append(next(row))
        tiles = _row(image_3HW, enlarge, top, columns, side, batch)
        for number, tile in enumerate(tiles):
            if second:
                below.append(next(row))
                upper, lower = hanging[number : number + 2], below[number : number + 2]
                tile = tile * mix + _crossing(upper, lower, half) * (1 - mix)
                below[number] = below[number][:, half:].clone()
            if strip is None:
                strip = tile.new_empty(3, large, columns * large)
            strip[:, :, number * large : (number + 1) * large] = tile
        assert strip is not None
        hanging = [*below[:-1], below[-1][:, half:]] if below else []
        yield strip[:, : (height - top) * factor, : width * factor]


def _shares(large: int, blend: Blend) -> Tensor:
    """Return [large, large]: the share of the first pass in each pixel of its tiles."""
    weight = tile_weights(large) if blend == "smooth" else torch.ones(large, large)
    return weight / (weight + shifted_half(weight, large))


def _crossing(above: list[Tensor], below: list[Tensor], half: int) -> Tensor:
    """Return the second pass over one tile of the first: the quarters of the four tiles that meet
    in its middle, of which the two above are lower halves already.
    """
    rows = (above, [tile[:, :half] for tile in below])
    halves = [torch.cat([left[:, :, half:], right[:, :, :half]], dim=2) for left, right in rows]
    return torch.cat(halves, dim=1)


def _row(
    image_3HW: Tensor,
    enlarge: Enlarge,
    top: int,
    count: int,
    side: int,
    batch: int,
    shifted: bool = False,
) -> Iterator[Tensor]:
    """Yield a row of large tiles whose small ones begin at row `top`.

    Args:
        count: how many.
        shifted: they begin half a tile left of the image. They then mirror the whole tiles that the
            first pass made of the image, as AuraSR's second pass does.
    """
    height, width = image_3HW.shape[1:]
    left = -side // 2 if shifted else 0

    def places(start: int, length: int, size: int) -> Tensor:
        line = torch.arange(start, start + length)
        if shifted:
            line = mirrored(line, size + -size % side)
        return mirrored(line, size).to(image_3HW.device)

    strip = image_3HW.index_select(1, places(top, side, height))
    for first in range(0, count, batch):
        number = min(batch, count - first)
        line = places(left + first * side, number * side, width)
        tiles = strip.index_select(2, line).unflatten(2, (number, side)).transpose(0, 2)
        yield from enlarge(tiles.permute(0, 2, 1, 3).contiguous())
