"""Find near copies among many images, by their hashes and thumbnails, without comparing all pairs.

Images that agree in hash and thumbnail are one group and cost no pairs. The others are cut again
and again along the colour that tells them apart best, with as much overlap as copies may differ,
until few stand together; only those are compared. So no copy is lost, and the work grows about as
the number of images does. Where no colour tells them apart, neighbours in brightness are compared.

Legend: N images, P numbers of a thumbnail, K pairs.
"""

from __future__ import annotations

import itertools

import numpy as np

LEAF_ROWS = 256  # so many are compared each with each
_SLABS = 8  # pieces of one cut
_TRIED = 12  # colours that are tried for a cut
_SAMPLED = 2_048  # rows that are looked at to choose one
_BAND = 256  # neighbours compared where no cut helps: images of one colour
_PAIRS_AT_ONCE = 1 << 16


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
    first = _first_of_equals(hashes_N, thumbnails_NP)
    rows = np.flatnonzero(first == np.arange(len(first)))
    pairs = near_pairs(hashes_N[rows], thumbnails_NP[rows], max_bits, max_levels)
    # Sorted by the earlier image: whether it is marked is settled when its pairs come.
    for i, j in rows[pairs].tolist():
        if not marked[i]:
            marked[j] = True
    # What equals a marked image is a copy of the same earlier one; the others copy their first.
    return marked[first] | (first != np.arange(len(first)))


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


def _first_of_equals(hashes_N: np.ndarray, thumbnails_NP: np.ndarray) -> np.ndarray:
    """Return for each image the first one with its hash and thumbnail, int64 [N]."""
    first = np.arange(len(hashes_N))
    order = np.argsort(hashes_N, kind="stable")
    same = np.zeros(len(order) + 1, dtype=bool)
    same[1:-1] = hashes_N[order[1:]] == hashes_N[order[:-1]]
    rows = np.sort(order[same[1:] | same[:-1]])  # only those whose hash is there twice
    if len(rows):
        words = np.ascontiguousarray(hashes_N[rows].astype(np.int64)).view(np.uint8)
        whole = np.concatenate([words.reshape(len(rows), 8), thumbnails_NP[rows]], axis=1)
        keys = np.ascontiguousarray(whole).view(f"V{whole.shape[1]}").ravel()
        _, at, back = np.unique(keys, return_index=True, return_inverse=True)
        first[rows] = rows[at[back]]
    return first


def _cut(rows: np.ndarray, thumbnails: np.ndarray, max_levels: float) -> list[np.ndarray]:
    """Return overlapping pieces of `rows`, each in ascending order; none when no cut helps.

    Every pair that is near lies in one of them together.
    """
    some = thumbnails[rows[:: max(1, len(rows) // _SAMPLED)]].astype(np.float32)
    for cell in np.argsort(-some.std(axis=0), kind="stable")[:_TRIED]:
        values = thumbnails[rows, cell]
        marks = np.quantile(some[:, cell], np.linspace(0, 1, _SLABS + 1)[1:-1])
        edges = np.unique(np.concatenate([[-1.0], np.ceil(marks), [256.0]]))
        pieces = []
        for low, high in itertools.pairwise(edges):
            inside = values >= low
            inside &= values < high + max_levels
            pieces.append(rows[inside])
        # A cut that copies nearly everything into its pieces is none.
        if max(map(len, pieces)) <= 0.6 * len(rows) and sum(map(len, pieces)) <= 2 * len(rows):
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
