"""Fingerprints that find copies of an image: a perceptual hash and a small colour thumbnail.

The hash has 64 bits, the thumbnail 8 x 8 pixels.

The hash proposes, the thumbnail decides: plain drawings of the same thing share low frequencies
without being copies. Legend: N images, B bits.
"""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image

THUMBNAIL_PX = 8
_HASH_PX = 32
_PAIRS_AT_ONCE = 1 << 22
# Measured on images resized by 2 to 4 of 64 px: cells differ by at most 2 levels, with BOX by 14.
_RESIZE = Image.Resampling.BILINEAR


def _cosines() -> np.ndarray:
    # The rows of a type-II discrete cosine transform, lowest frequencies first.
    frequency, place = np.arange(9)[:, None], np.arange(_HASH_PX)[None, :]
    return np.cos(np.pi * (place + 0.5) * frequency / _HASH_PX)


_COSINES = _cosines()


def perceptual_hash(pixels_HWC: np.ndarray) -> int:
    """Return 64 bits as an int64: which low frequencies of brightness exceed their median."""
    grey = Image.fromarray(pixels_HWC).convert("L")
    small = np.asarray(grey.resize((_HASH_PX, _HASH_PX), _RESIZE), dtype=np.float64)
    table = _COSINES @ small @ _COSINES.T
    # The mean brightness says nothing about the picture: one more frequency takes its place.
    values = np.append(table[:8, :8].ravel()[1:], table[8, 0])
    bits = np.packbits(values > np.median(values))
    return int(bits.view(">i8")[0])


def thumbnail(pixels_HWC: np.ndarray) -> bytes:
    """Return the mean colours of an 8 x 8 grid: 192 bytes."""
    small = Image.fromarray(pixels_HWC).resize((THUMBNAIL_PX, THUMBNAIL_PX), _RESIZE)
    return small.tobytes()


def near_pairs(hashes_N: np.ndarray, max_bits: int) -> np.ndarray:
    """Return all pairs (i, j), i < j, whose hashes differ in at most `max_bits` bits, sorted, [P,
    2].

    Two such hashes agree in at least one of max_bits + 1 bands, so only rows that share a band are
    compared.
    """
    hashes = hashes_N.astype(np.int64).view(np.uint64)
    edges = np.linspace(0, 64, max_bits + 2).astype(int)
    found = [np.empty((0, 2), dtype=np.int64)]
    for low, high in itertools.pairwise(edges):
        mask = np.uint64((1 << int(high - low)) - 1)
        band = (hashes >> np.uint64(low)) & mask
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        buckets = (rows for rows in np.split(order, starts) if len(rows) > 1)
        found.extend(_close_in(rows, hashes[rows], max_bits) for rows in buckets)
    return np.unique(np.concatenate(found), axis=0)


def _close_in(rows: np.ndarray, hashes: np.ndarray, max_bits: int) -> np.ndarray:
    """Compare all rows of one bucket with one another, a block at a time."""
    step = max(1, _PAIRS_AT_ONCE // len(rows))
    found = []
    for at in range(0, len(rows), step):
        bits = np.bitwise_count(hashes[at : at + step, None] ^ hashes[None, :])
        first, second = np.nonzero(bits <= max_bits)
        keep = first + at < second
        found.append(np.stack([rows[first[keep] + at], rows[second[keep]]], axis=1))
    return np.concatenate(found)  # rows are in ascending order, so i < j


def later_copies(
    hashes_N: np.ndarray, thumbnails_NP: np.ndarray, max_bits: int, max_levels: float
) -> np.ndarray:
    """Mark every image that is a near copy of an earlier one which is itself not marked.

    Args:
        hashes_N: perceptual hashes, int64.
        thumbnails_NP: thumbnails as uint8 rows.
        max_bits: largest difference of the hashes.
        max_levels: largest difference of any cell of the thumbnails, in levels of 255.

    Returns:
        bool [N].
    """
    marked = np.zeros(len(hashes_N), dtype=bool)
    pairs = near_pairs(hashes_N, max_bits)
    for at in range(0, len(pairs), 1 << 16):
        first, second = pairs[at : at + (1 << 16)].T
        gap = np.abs(thumbnails_NP[first].astype(np.int16) - thumbnails_NP[second])
        same = gap.max(axis=1) <= max_levels
        # Sorted by the earlier image: whether it is marked is settled when its pairs come.
        for i, j in zip(first[same].tolist(), second[same].tolist(), strict=True):
            if not marked[i]:
                marked[j] = True
    return marked
