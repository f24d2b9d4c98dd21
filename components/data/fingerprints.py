"""Fingerprints that find copies of an image: a perceptual hash and a small colour thumbnail.

The hash has 64 bits, the thumbnail 8 x 8 pixels.

Both must agree: plain drawings of the same thing share low frequencies without being copies. How
copies are found by them: near_copies.py.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

THUMBNAIL_PX = 8
_HASH_PX = 32
_OVERVIEW_PX = 128
# Measured on images resized by 2 to 4 of 64 px: cells differ by at most 2 levels, with BOX by 14.
_RESIZE = Image.Resampling.BILINEAR


def _cosines() -> np.ndarray:
    # The rows of a type-II discrete cosine transform, lowest frequencies first.
    frequency, place = np.arange(9)[:, None], np.arange(_HASH_PX)[None, :]
    return np.cos(np.pi * (place + 0.5) * frequency / _HASH_PX)


_COSINES = _cosines()


def overview(image: Image.Image) -> Image.Image:
    """Return an RGB image for both fingerprints: sides of 256 px or more become 128 to 255 px.

    It is by whole numbers, each pixel the mean of a block; smaller images are as they are.
    """
    factors = max(1, image.width // _OVERVIEW_PX), max(1, image.height // _OVERVIEW_PX)
    return image if factors == (1, 1) else image.reduce(factors)


def perceptual_hash(image: Image.Image) -> int:
    """Return 64 bits as an int64: which low frequencies of brightness exceed their median."""
    grey = image.convert("L")
    small = np.asarray(grey.resize((_HASH_PX, _HASH_PX), _RESIZE), dtype=np.float64)
    table = _COSINES @ small @ _COSINES.T
    # The mean brightness says nothing about the picture: one more frequency takes its place.
    values = np.empty(64)
    values[:63], values[63] = table[:8, :8].ravel()[1:], table[8, 0]
    ordered = np.sort(values)
    bits = np.packbits(values > (ordered[31] + ordered[32]) / 2)
    return int(bits.view(">i8")[0])


def thumbnail(image: Image.Image) -> bytes:
    """Return the mean colours of an 8 x 8 grid: 192 bytes."""
    return image.resize((THUMBNAIL_PX, THUMBNAIL_PX), _RESIZE).tobytes()
