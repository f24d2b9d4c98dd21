"""Judge shapes by geometry: cut the object from its ground, compare its outline with real ones.

A small network can be fooled by textures that another small network learnt to draw, even if it took
no part in the training. No gradient leads through an outline. Images are uint8 [H, W, 3].
Legend: N images, K mean outlines, S side of an outline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SIDE = 32  # S: an outline is scaled to its box, S cells on each side
FINE_PX = 128  # differences are read on at least so fine a grid: a small square has 5 px at 32 px
CONTRAST = 24.0  # of 255, between ground and object: below it nothing stands out
GROUND_SHARE = 0.6  # of the border must be ground: noise and blots have none
OBJECT_QUANTILE = 0.99  # of the differences stands for the object: small ones cover 1.5 %
OVERLAP = 0.6  # a shape whose best mean outline overlaps less is none of them
MEANS_PER_SHAPE = 3  # a turned square has another outline than an upright one


@dataclass(frozen=True)
class Silhouette:
    """The largest piece of an image that is not its ground.

    Attributes:
        outline_SS: cover of its box by the piece, in [0, 1].
        centre: (x, y) of the piece, as parts of the image's sides.
    """

    outline_SS: np.ndarray
    centre: tuple[float, float]


@dataclass(frozen=True)
class Outlines:
    """Mean outlines of real drawings, K of them.

    Attributes:
        mean_KSS: in [0, 1].
        shapes: what each of them is.
    """

    mean_KSS: np.ndarray
    shapes: tuple[str, ...]

    @classmethod
    def of(cls, found: Sequence[Silhouette | None], shapes: Sequence[str]) -> Outlines:
        """Return the mean outlines of some drawings; images without an object are left out.

        Args:
            found: silhouettes of the drawings.
            shapes: what each drawing shows.

        Raises:
            ValueError: no drawing has an object.
        """
        from scipy.cluster.vq import kmeans2

        parts: dict[str, list[np.ndarray]] = {}
        for one, shape in zip(found, shapes, strict=True):
            if one is not None:
                parts.setdefault(shape, []).append(one.outline_SS.ravel())
        if not parts:
            raise ValueError("no drawing has an object that stands out of its ground")
        means, names = [], []
        for shape, rows in sorted(parts.items()):
            count = min(MEANS_PER_SHAPE, len(np.unique(rows, axis=0)))
            mean_KD, _ = kmeans2(np.array(rows), count, minit="++", seed=0)
            means.append(mean_KD.reshape(-1, SIDE, SIDE))
            names += [shape] * count
        return cls(np.concatenate(means), tuple(names))

    def name(self, found: Silhouette | None) -> str:
        """Return the shape whose outline overlaps most, "" where none overlaps enough."""
        if found is None:
            return ""
        common_K = np.minimum(self.mean_KSS, found.outline_SS).sum(axis=(1, 2))
        overlap_K = common_K / np.maximum(self.mean_KSS, found.outline_SS).sum(axis=(1, 2))
        best = int(overlap_K.argmax())
        return self.shapes[best] if overlap_K[best] >= OVERLAP else ""


def silhouettes(images: Iterable[np.ndarray]) -> list[Silhouette | None]:
    """Return the silhouette of each image [H, W, 3]."""
    return [silhouette(image) for image in images]


def silhouette(image_HWC: np.ndarray) -> Silhouette | None:
    """Return the silhouette of the object, None where there is no ground, or nothing on it."""
    from scipy import ndimage

    difference_HW = np.linalg.norm(image_HWC.astype(np.float64) - _ground(image_HWC), axis=2)
    border_B = np.concatenate([*difference_HW[[0, -1]], *difference_HW[1:-1, [0, -1]].T])
    strength = np.quantile(difference_HW, OBJECT_QUANTILE)
    if strength < CONTRAST or np.mean(border_B < CONTRAST) < GROUND_SHARE:
        return None
    finer = max(1, -(-FINE_PX // max(difference_HW.shape)))
    fine_HW = ndimage.zoom(difference_HW, finer, order=1, grid_mode=True, mode="nearest")
    pieces, _ = ndimage.label(fine_HW > strength / 2, structure=np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())
    largest = 1 + int(sizes[1:].argmax())
    rows, columns = ndimage.find_objects(pieces, largest)[largest - 1]
    piece = pieces[rows, columns] == largest
    y, x = np.nonzero(piece)
    height, width = fine_HW.shape
    centre = ((columns.start + x.mean() + 0.5) / width, (rows.start + y.mean() + 0.5) / height)
    return Silhouette(_scaled(piece), centre)


def _ground(image_HWC: np.ndarray) -> np.ndarray:
    """Return the ground's colour at every pixel: a plane through the border, outliers left out.

    The ground is lit from one side, so its colour is no constant; an object may touch the border.
    """
    height, width, _ = image_HWC.shape
    y, x = np.mgrid[0:height, 0:width]
    plane_HW3 = np.stack([np.ones_like(x), x / width - 0.5, y / height - 0.5], axis=2)
    border = np.ones((height, width), dtype=bool)
    border[1:-1, 1:-1] = False
    place_B3, colour_B3 = plane_HW3[border], image_HWC[border].astype(np.float64)
    residual_B = np.abs(colour_B3 - np.median(colour_B3, axis=0)).max(axis=1)
    for _ in range(3):
        kept = residual_B <= max(2.5 * float(np.median(residual_B)), 8.0)
        fit_33, *_ = np.linalg.lstsq(place_B3[kept], colour_B3[kept], rcond=None)
        residual_B = np.abs(colour_B3 - place_B3 @ fit_33).max(axis=1)
    return plane_HW3 @ fit_33


def _scaled(piece_HW: np.ndarray) -> np.ndarray:
    """Return the cover of a piece's box on a grid of [S, S]: the exact mean over each cell."""
    height, width = piece_HW.shape
    return _shares(height) @ piece_HW.astype(np.float64) @ _shares(width).T


def _shares(length: int) -> np.ndarray:
    """Return [S, length]: which part of each pixel lies in each of S equal cells; rows sum to 1."""
    edges = np.linspace(0, length, SIDE + 1)
    left = np.maximum(edges[:-1, None], np.arange(length)[None])
    right = np.minimum(edges[1:, None], np.arange(1, length + 1)[None])
    return np.maximum(right - left, 0) * (SIDE / length)
