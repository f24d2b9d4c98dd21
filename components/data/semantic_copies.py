"""Find copies in meaning: images whose CLIP embeddings point the same way, within clusters.

As SemDeDup (Abbas et al. 2023, section 3.1) the images are clustered and compared inside a cluster
alone; here each belongs to its two nearest clusters, so that few pairs fall between two. Vectors
are whole numbers and every sum of products is exact in float32: neither threads nor the processor
change a decision. What memory does not hold is cut into clusters on disk first. Legend: N images, D
width of the embedding, C clusters, K pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from components.data.near_search import record_blocks

MOST_ROWS = 1 << 16  # images looked at in memory: 32 MB at a width of 512
LEAF_ROWS = 1_024  # so many are compared each with each
MOST_WIDTH = 1_024  # up to here sums of products of whole numbers below 128 are exact in float32
_CLUSTERS, _SAMPLED, _ROUNDS = 256, 16_384, 4
_EARLIER = 32  # earlier neighbours of an image that are kept
_BLOCK_ROWS = 4_096

# (positions, embeddings [N, D]), ascending by position.
Vectors = tuple[np.ndarray, np.ndarray]


def semantic_pairs(
    images: Iterable[Vectors], cosine: float, work: Path, most_rows: int = MOST_ROWS
) -> np.ndarray:
    """Return pairs of positions (i, j), i < j, of at least this cosine, sorted, int64 [K, 2].

    Of each image the earliest neighbours are kept, at most 32 in a cluster.

    Args:
        images: in blocks; each position once.
        cosine: least cosine of two embeddings that count as the same.
        work: folder for the clusters; they are gone afterwards.
        most_rows: images that are looked at in memory.
    """
    work.mkdir(parents=True, exist_ok=True)
    whole, width = work / "meaning.all", 0
    with open(whole, "wb") as file:
        for positions, embedding_ND in images:
            width = embedding_ND.shape[1]
            records = np.empty(len(positions), dtype=_kind(width))
            records["position"], records["vector"] = positions, whole_numbers(embedding_ND)
            file.write(records.tobytes())
    found, names = [np.empty((0, 2), dtype=np.int64)], itertools.count()
    stack = [whole] if width else []
    while stack:
        path = stack.pop()
        rows = path.stat().st_size // _kind(width).itemsize
        if rows > most_rows:
            stack += _cut_file(path, rows, width, names, most_rows)
        else:
            some = np.fromfile(path, dtype=_kind(width))
            found.append(some["position"][_close(some["vector"], cosine)])
        path.unlink()
    whole.unlink(missing_ok=True)
    return np.unique(np.concatenate(found), axis=0)


def whole_numbers(embedding_ND: np.ndarray) -> np.ndarray:
    """Return the same directions with whole numbers up to 127, int8 [N, D]; zeros for NaN."""
    if embedding_ND.shape[1] > MOST_WIDTH:
        raise ValueError(f"embeddings of at most {MOST_WIDTH} numbers; got {embedding_ND.shape[1]}")
    values = embedding_ND.astype(np.float64)
    values[~np.isfinite(values).all(axis=1)] = 0.0
    largest_N = np.abs(values).max(axis=1, keepdims=True, initial=0.0)
    return np.rint(values * (127.0 / np.where(largest_N > 0, largest_N, 1.0))).astype(np.int8)


def _kind(width: int) -> np.dtype:
    return np.dtype([("position", "<i8"), ("vector", "i1", (width,))])


def _close(vector_ND: np.ndarray, cosine: float) -> np.ndarray:
    """Return the pairs of rows that are close, i < j, int64 [K, 2]."""
    # Equal vectors first: any number of them costs one comparison each.
    rows = np.ascontiguousarray(vector_ND).view(f"V{vector_ND.shape[1]}")[:, 0]
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    head = first[group]
    later = np.flatnonzero(head != np.arange(len(head)))
    later = later[vector_ND[later].any(axis=1)]  # no direction, no meaning
    found = [np.stack([head[later], later], axis=1)]
    stack = [np.sort(first)]
    while stack:
        some = stack.pop()
        if len(some) <= LEAF_ROWS:
            found.append(some[_each_with_each(vector_ND[some], cosine)])
            continue
        pieces = [some[piece] for piece in _clusters(vector_ND[some])]
        if max(map(len, pieces)) > 0.9 * len(some):  # no cluster tells them apart
            steps = range(0, len(some) - LEAF_ROWS // 2, LEAF_ROWS // 2)
            pieces = [some[at : at + LEAF_ROWS] for at in steps]
        stack += [piece for piece in pieces if len(piece) > 1]
    return np.concatenate(found)


def _each_with_each(vector_ND: np.ndarray, cosine: float) -> np.ndarray:
    values = vector_ND.astype(np.float32)
    dots = (values @ values.T).astype(np.float64)  # exact
    lengths = np.sqrt(dots.diagonal())
    close = (dots >= cosine * lengths[:, None] * lengths[None, :]) & (dots > 0)
    close = np.triu(close, 1)
    close &= np.cumsum(close, axis=0) <= _EARLIER
    return np.stack(np.nonzero(close), axis=1)


def _clusters(vector_ND: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each cluster, ascending; each row is in its two nearest."""
    step = max(1, len(vector_ND) // _SAMPLED)
    centre_CD = centres_of(vector_ND[::step], -(-2 * len(vector_ND) // LEAF_ROWS))
    nearest_N2 = _nearest_two(vector_ND, centre_CD)
    pieces = (np.flatnonzero((nearest_N2 == c).any(axis=1)) for c in range(len(centre_CD)))
    return [piece for piece in pieces if len(piece)]


def centres_of(sample_ND: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` centres of k-means by direction, as whole numbers, int8 [C, D].

    It begins with rows at even distances and takes some rounds: where they stand is no result.
    """
    count = max(2, min(count, _CLUSTERS, len(sample_ND)))
    centre_CD = sample_ND[np.linspace(0, len(sample_ND) - 1, count).astype(np.int64)]
    for _ in range(_ROUNDS):
        nearest_N = _nearest_two(sample_ND, centre_CD)[:, 0]
        sums = np.zeros(centre_CD.shape, dtype=np.int64)
        np.add.at(sums, nearest_N, sample_ND)  # whole numbers: in any order the same
        there = np.bincount(nearest_N, minlength=count) > 0
        centre_CD = np.where(there[:, None], whole_numbers(sums), centre_CD)
    return centre_CD


def _nearest_two(vector_ND: np.ndarray, centre_CD: np.ndarray) -> np.ndarray:
    """Return the numbers of the two centres of the largest cosine, int32 [N, 2]."""
    centres = centre_CD.astype(np.float32)
    length_C = np.sqrt((centres.astype(np.float64) ** 2).sum(axis=1)).clip(1.0)
    found = np.empty((len(vector_ND), 2), dtype=np.int32)
    for at in range(0, len(vector_ND), _BLOCK_ROWS):
        block = vector_ND[at : at + _BLOCK_ROWS].astype(np.float32)
        near = (block @ centres.T).astype(np.float64) / length_C
        best = near.argmax(axis=1)
        near[np.arange(len(near)), best] = -np.inf
        found[at : at + len(near)] = np.stack([best, near.argmax(axis=1)], axis=1)
    return found


def _cut_file(
    path: Path, rows: int, width: int, names: Iterator[int], most_rows: int
) -> list[Path]:
    """Write the clusters of a file as files; where none tells the rows apart, runs of rows."""
    sample = _sampled(path, rows, width)
    centre_CD = centres_of(sample, -(-4 * rows // most_rows))
    nearest = _nearest_two(sample, centre_CD)
    crowded = max(np.bincount(nearest.ravel(), minlength=len(centre_CD))) > 0.9 * len(sample)
    count = -(-rows // most_rows) if crowded else len(centre_CD)
    paths = [path.with_name(f"meaning.{next(names)}") for _ in range(count)]
    with ExitStack() as stack:
        files = [stack.enter_context(open(piece, "wb")) for piece in paths]
        for start, block in record_blocks(path, _kind(width), _BLOCK_ROWS):
            if crowded:
                number = (start + np.arange(len(block))) // most_rows
                chosen = np.stack([number, number], axis=1)
            else:
                chosen = _nearest_two(block["vector"], centre_CD)
            for number in np.unique(chosen):
                files[number].write(block[(chosen == number).any(axis=1)].tobytes())
    return paths


def _sampled(path: Path, rows: int, width: int) -> np.ndarray:
    """Return the vectors of rows at even distances, int8 [N, D]."""
    wanted = np.linspace(0, rows - 1, min(rows, _SAMPLED)).astype(np.int64)
    records = np.memmap(path, dtype=_kind(width), mode="r")
    return np.array(records["vector"][wanted])
