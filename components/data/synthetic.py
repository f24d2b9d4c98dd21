"""Drawings of captioned shapes: the embedded default's images, made from signed distances.

Sample i of a split is a function of (seed, split, i) alone: each has its own random generator. A
batch is drawn at once. Legend: N images, H W pixels, coordinates in [-1, 1] with y downward,
colours in [0, 1].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.data.captions import (
    ATTRIBUTES,
    PAIR_ATTRIBUTES,
    PAIR_TEMPLATES,
    TEMPLATES,
    attributes_of,
    caption,
    label_of,
    pair_caption,
    prompt,
)

__all__ = ["ATTRIBUTES", "Pairs", "attributes_of", "draw", "label_of", "prompt", "sample_pairs"]

PALETTE = (
    np.array(
        [
            [214, 38, 38],  # red
            [44, 160, 60],  # green
            [38, 82, 214],  # blue
            [240, 222, 40],  # yellow
            [242, 132, 24],  # orange
            [138, 48, 172],  # purple
            [244, 244, 244],  # white
            [18, 18, 18],  # black
        ],
        dtype=np.float32,
    )
    / 255.0
)
RADIUS = {
    "small": (0.22, 0.32),
    "large": (0.50, 0.68),
}  # of [-1, 1]; the gap keeps the two sizes apart
PAIR_RADIUS = {"small": (0.20, 0.27), "large": (0.36, 0.45)}  # where two objects share the image
PAIR_GAP = 0.08  # between two objects, at least
PAIR_OFFSET = 0.12  # of either object across the line that they stand on, at most
ROTATION = np.pi / 12  # largest turn to either side
MARGIN = 0.94  # no shape reaches beyond
JITTER = 0.045  # of each colour channel
SHADE = 0.10  # of the lighting gradient, from the middle to the edge
NOISE = 0.018  # standard deviation of the grain
_NUM_DRAWS = 13  # uniform numbers behind one image, before its grain
_NUM_PAIR_DRAWS = 21  # the same of two objects
_CHUNK = 128  # images drawn at once: keeps the work in the processor's cache


@dataclass(frozen=True)
class Pairs:
    """Attributes, captions, and the generators that draw the images.

    The attributes are indices into ATTRIBUTES, or into PAIR_ATTRIBUTES.
    """

    attributes: dict[str, np.ndarray]
    captions: list[str]
    generators: list[np.random.Generator]

    def values(self, row: int) -> dict[str, str]:
        """Return the attribute values of one sample as words."""
        return {name: PAIR_ATTRIBUTES[name][index[row]] for name, index in self.attributes.items()}


def sample_pairs(seed: int, split: str, indices: Sequence[int], objects: int = 1) -> Pairs:
    """Choose attributes and captions of the samples of a split that `indices` name.

    Args:
        seed: of the run.
        split: its name.
        indices: numbers of the samples.
        objects: of each drawing, 1 or 2.
    """
    split_id, count = zlib.crc32(split.encode()), len(indices)
    generators = [np.random.default_rng((seed, split_id, int(i))) for i in indices]
    if objects == 2:
        return _two_objects(generators)
    picks = np.array([g.random(6) for g in generators]).reshape(count, 6)

    def choose(column: int, options: int) -> np.ndarray:
        return (picks[:, column] * options).astype(np.int64)

    colour = choose(1, 8)
    attributes = {
        "shape": choose(0, 5),
        "colour": colour,
        "background": (colour + 1 + choose(2, 7)) % 8,  # any but the shape's own colour
        "size": choose(3, 2),
    }
    templates = choose(4, len(TEMPLATES))
    pairs = Pairs(attributes, [], generators)
    pairs.captions.extend(
        caption(pairs.values(i), int(templates[i]), float(picks[i, 5])) for i in range(count)
    )
    return pairs


def _two_objects(generators: list[np.random.Generator]) -> Pairs:
    """Choose what two objects are; they differ in shape and colour, so that a caption that mixes
    them up is wrong.
    """
    count = len(generators)
    picks = np.array([g.random(12) for g in generators]).reshape(count, 12)

    def choose(column: int, options: int) -> np.ndarray:
        return (picks[:, column] * options).astype(np.int64)

    shape, colour = choose(0, 5), choose(1, 8)
    colour_2 = (colour + 1 + choose(2, 7)) % 8
    # Any of the six colours that are neither object's, counted round from the first one's.
    other, step = choose(3, 6) + 1, (colour_2 - colour) % 8
    attributes = {
        "shape": shape,
        "colour": colour,
        "background": (colour + other + (other >= step)) % 8,
        "size": choose(4, 2),
        "shape_2": (shape + 1 + choose(5, 4)) % 5,
        "colour_2": colour_2,
        "size_2": choose(6, 2),
        "relation": choose(7, 2),
    }
    templates, halves = choose(8, len(PAIR_TEMPLATES)), picks[:, 9:12] < 0.5
    pairs = Pairs(attributes, [], generators)
    pairs.captions.extend(
        pair_caption(
            pairs.values(i),
            int(templates[i]),
            turned=bool(halves[i, 0]),
            synonym=float(picks[i, 10]),
            brief=bool(halves[i, 2]),
        )
        for i in range(count)
    )
    return pairs


def draw(
    attributes: Mapping[str, np.ndarray],
    rng: np.random.Generator | Sequence[np.random.Generator],
    resolution: int = 64,
) -> np.ndarray:
    """Draw images.

    Args:
        attributes: name -> index into ATTRIBUTES[name], each [N]; of PAIR_ATTRIBUTES to draw two
            objects.
        rng: one generator per image (an image then depends on its own alone), or one for all.
        resolution: side in pixels.

    Returns:
        uint8 [N, H, W, 3].
    """
    count = len(attributes["shape"])
    generators = rng.spawn(count) if isinstance(rng, np.random.Generator) else rng
    if len(generators) != count:
        raise ValueError(f"want one generator per image: got {len(generators)} for {count} images")
    images = np.empty((count, resolution, resolution, 3), dtype=np.uint8)
    for at in range(0, count, _CHUNK):
        part = slice(at, at + _CHUNK)
        chosen = {name: np.asarray(index)[part] for name, index in attributes.items()}
        images[part] = _draw_chunk(chosen, generators[part], resolution)
    return images


def _draw_chunk(
    attributes: Mapping[str, np.ndarray], generators: Sequence[np.random.Generator], resolution: int
) -> np.ndarray:
    size, two = (resolution, resolution), "shape_2" in attributes
    draws = _NUM_PAIR_DRAWS if two else _NUM_DRAWS
    u = np.array([g.random(draws, dtype=np.float32) for g in generators])
    grain_NHW = np.array([g.standard_normal(size, dtype=np.float32) for g in generators])
    axis = (np.arange(resolution, dtype=np.float32) + 0.5) * (2 / resolution) - 1
    y, x = axis[None, :, None], axis[None, None, :]

    if two:
        radii, centres = _stand_side_by_side(attributes, u)
    else:
        radii = [_radius(attributes["size"], u[:, 0:1], RADIUS)]
        centres = [(2 * u[:, 1:3] - 1) * (MARGIN - radii[0])[:, None]]
    covers_NHW = [
        _cover(attributes[f"shape{suffix}"], (x, y), centre, radius, u[:, turn])
        for suffix, centre, radius, turn in zip(("", "_2"), centres, radii, (3, 13), strict=False)
    ]
    # The two do not touch, so their covers add up.
    cover_NHW = sum(covers_NHW[1:], covers_NHW[0])

    angle = 2 * np.pi * u[:, 4, None, None]
    light_NHW = (np.cos(angle) * x + np.sin(angle) * y) * (SHADE * u[:, 5, None, None])
    # The shape is lit as a body of its own: its gradient is 1 - 2u times that of the background.
    light_NHW = light_NHW * (1 - 2 * cover_NHW * u[:, 6, None, None]) + NOISE * grain_NHW
    back = PALETTE[attributes["background"]] + (2 * u[:, 10:13] - 1) * JITTER
    images = np.empty((len(generators), *size, 3), dtype=np.uint8)
    for channel in range(3):
        shade = back[:, channel, None, None]
        for cover, suffix, at in zip(covers_NHW, ("", "_2"), (7, 14), strict=False):
            front = PALETTE[attributes[f"colour{suffix}"]] + (2 * u[:, at : at + 3] - 1) * JITTER
            shade = shade + cover * (front - back)[:, channel, None, None]
        images[..., channel] = np.clip((shade + light_NHW) * 255 + 0.5, 0, 255)
    return images


def _radius(size: np.ndarray, u: np.ndarray, of: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Return [N] for sizes [N] and numbers [N, 1] in [0, 1)."""
    low, high = np.array([of[name] for name in ATTRIBUTES["size"]], dtype=np.float32).T
    return (low + u * (high - low))[np.arange(len(u)), size]


def _stand_side_by_side(
    attributes: Mapping[str, np.ndarray], u: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return radii [N] and centres [N, 2] of two objects, the first on the left or above.

    What room is left on the line that they stand on is shared out by two numbers; across it they
    differ by less than they do along it.
    """
    radii = [
        _radius(attributes[name], u[:, at : at + 1], PAIR_RADIUS)
        for name, at in (("size", 0), ("size_2", 17))
    ]
    room = 2 * (MARGIN - radii[0] - radii[1]) - PAIR_GAP
    before, after = np.sort(u[:, 1:3], axis=1).T
    along = [radii[0] - MARGIN + before * room, MARGIN - radii[1] - (1 - after) * room]
    middle = (2 * u[:, 18] - 1) * (MARGIN - PAIR_OFFSET - np.maximum(*radii))
    across = [middle + (2 * u[:, at] - 1) * PAIR_OFFSET for at in (19, 20)]
    above = attributes["relation"] == PAIR_ATTRIBUTES["relation"].index("above")
    centres = [
        np.where(above[:, None], np.stack([c, a], axis=1), np.stack([a, c], axis=1))
        for a, c in zip(along, across, strict=True)
    ]
    return radii, centres


def _cover(
    shape: np.ndarray,
    at: tuple[np.ndarray, np.ndarray],
    centre: np.ndarray,
    radius: np.ndarray,
    turn: np.ndarray,
) -> np.ndarray:
    """Return how much of each pixel the shapes cover, [N, H, W] in [0, 1]."""
    x, y = at
    turn = ((2 * turn - 1) * ROTATION)[:, None, None]
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    right = dx * np.cos(turn) + dy * np.sin(turn)
    down = dy * np.cos(turn) - dx * np.sin(turn)
    distance_NHW = _distance(shape, right, down, radius)
    # One pixel wide ramp over the outline: area coverage, to first order.
    return np.clip(0.5 - distance_NHW * (x.shape[-1] / 2), 0, 1)


def _distance(
    shape: np.ndarray, right: np.ndarray, down: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Return the distance to the outline, negative inside, [N, H, W]; sizes are even to the eye."""
    distance = np.empty_like(right)
    for index, name in enumerate(ATTRIBUTES["shape"]):
        rows = np.flatnonzero(shape == index)
        if len(rows):
            x, y, r = right[rows], down[rows], radius[rows, None, None]
            distance[rows] = _DISTANCES[name](x, y, r)
    return distance


def _box(x: np.ndarray, y: np.ndarray, half_x: np.ndarray, half_y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def _triangle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    # Equilateral, point upward, inside the circle of radius r: three half-planes at distance r / 2.
    side = np.float32(np.sqrt(3) / 2)
    return np.maximum(np.maximum(y, side * np.abs(x) - 0.5 * y) - 0.5 * r, -r)


_DISTANCES = {
    "circle": lambda x, y, r: np.sqrt(x * x + y * y) - 0.92 * r,
    "square": lambda x, y, r: _box(x, y, 0.80 * r, 0.80 * r),
    "triangle": _triangle,
    "ring": lambda x, y, r: np.abs(np.sqrt(x * x + y * y) - 0.76 * r) - 0.20 * r,
    "cross": lambda x, y, r: np.minimum(_box(x, y, r, 0.3 * r), _box(x, y, 0.3 * r, r)),
}
