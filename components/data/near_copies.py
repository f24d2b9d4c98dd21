"""Find near copies among many images, by their hashes and thumbnails, without comparing all pairs.

The images are cut again and again along the colour that tells them apart best, with as much overlap
as copies may differ, until few stand together; only those are compared. So no copy is lost, and the
work grows about as the number of images does. Where no colour tells them apart, neighbours in
brightness are compared. Images that agree in hash and thumbnail are left out beforehand.

Legend: N images, P numbers of a thumbnail, K pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

LEAF_ROWS = 256  # so many are compared each with each
_SLABS = 8  # pieces of one cut
_TRIED = 12  # colours that are tried for a cut
SAMPLED = 2_048  # rows that are looked at to choose one
_BAND = 256  # neighbours compared where no cut helps: images of one colour
_PAIRS_AT_ONCE = 1 << 16


def later_copies(pairs_K2: np.ndarray, count: int) -> np.ndarray:
    """Mark every image that is a near copy of an earlier one which is itself not marked.

    Args:
        pairs_K2: near images (i, j), i < j, sorted.
        count: of images.

    Returns:
        bool [count].
    """
    marked = np.zeros(count, dtype=bool)
    # Sorted by the earlier image: whether it is marked is settled when its pairs come.
    for at in range(0, len(pairs_K2), _PAIRS_AT_ONCE):
        for i, j in pairs_K2[at : at + _PAIRS_AT_ONCE].tolist():
            if not marked[i]:
                marked[j] = True
    return marked


def near_pairs(
    hashes_N: np.ndarray, thumbnails_NP: np.ndarray, max_bits: int, max_levels: float
) -> np.ndarray:
    """Return all pairs (i, j), i < j, that are near in hash and thumbnail, sorted, int64 [K, 2]."""
    hashes = hashes_N.astype(np.int64).view(np.uint64)
    thumbnails = np.ascontiguousarray(thumbnails_NP)
    found = [np.empty((0, 2), dtype=np.int64)]
    stack = [np.arange(len(hashes))]
    while stack:
        rows = stack.pop()
        if len(rows) <= LEAF_ROWS:
            pairs = _all_close(rows, hashes, max_bits)
        elif pieces := _cut(rows, thumbnails, max_levels):
            stack += pieces
            continue
        else:
            pairs = _close_in_band(rows, hashes, thumbnails, max_bits)
        found += _near(pairs, thumbnails, max_levels)
    return np.unique(np.concatenate(found), axis=0)


def possible_cuts(sample_NP: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield colours to cut by, best first, and the edges of the pieces.

    Args:
        sample_NP: thumbnails of some of the images.

    Yields:
        (number of the colour, edges as `pieces_of` takes them).
    """
    some = sample_NP.astype(np.float32)
    for cell in np.argsort(-some.std(axis=0), kind="stable")[:_TRIED]:
        marks = np.quantile(some[:, cell], np.linspace(0, 1, _SLABS + 1)[1:-1])
        yield int(cell), np.unique(np.concatenate([[-1.0], np.ceil(marks), [256.0]]))


def pieces_of(values_N: np.ndarray, edges: np.ndarray, max_levels: float) -> Iterator[np.ndarray]:
    """Yield for each piece which values lie in it, as indices, ascending.

    Piece k holds [edges[k], edges[k + 1] + max_levels): values that differ by at most max_levels
    lie in one piece together.
    """
    for low, high in itertools.pairwise(edges):
        yield np.flatnonzero((values_N >= low) & (values_N < high + max_levels))


def is_worth(sizes: Sequence[int], rows: int) -> bool:
    """Tell whether a cut into such pieces helps: not if it copies nearly everything into them."""
    return max(sizes) <= 0.6 * rows and sum(sizes) <= 2 * rows


def _cut(rows: np.ndarray, thumbnails: np.ndarray, max_levels: float) -> list[np.ndarray]:
    """Return overlapping pieces of `rows`, each in ascending order; none when no cut helps."""
    for cell, edges in possible_cuts(thumbnails[rows[:: max(1, len(rows) // SAMPLED)]]):
        pieces = [rows[at] for at in pieces_of(thumbnails[rows, cell], edges, max_levels)]
        if is_worth([len(piece) for piece in pieces], len(rows)):
            return [piece for piece in pieces if len(piece) > 1]
    return []


def _all_close(rows: np.ndarray, hashes: np.ndarray, max_bits: int) -> np.ndarray:
    own = hashes[rows]
    bits = np.bitwise_count(own[:, None] ^ own[None, :])
    first, second = np.nonzero(np.triu(bits <= max_bits, 1))
    return np.stack([rows[first], rows[second]], axis=1)


def _close_in_band(
    rows: np.ndarray, hashes: np.ndarray, thumbnails: np.ndarray, max_bits: int
) -> np.ndarray:
    """Compare each row with its neighbours in the order of the thumbnails' brightness alone."""
    order = rows[np.argsort(thumbnails[rows].sum(axis=1, dtype=np.int64), kind="stable")]
    own, found = hashes[order], []
    for step in range(1, min(_BAND, len(order))):
        at = np.flatnonzero(np.bitwise_count(own[step:] ^ own[:-step]) <= max_bits)
        found.append(np.sort(np.stack([order[at], order[at + step]], axis=1), axis=1))
    return np.concatenate(found)


def _near(pairs: np.ndarray, thumbnails: np.ndarray, max_levels: float) -> list[np.ndarray]:
    """Return those pairs whose thumbnails agree as well."""
    found = []
    for at in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[at : at + _PAIRS_AT_ONCE]
        gap = np.abs(thumbnails[some[:, 0]].astype(np.int16) - thumbnails[some[:, 1]])
        found.append(some[gap.max(axis=1) <= max_levels])
    return found
