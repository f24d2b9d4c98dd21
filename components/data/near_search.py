"""Near copies among more images than memory holds: they are cut on disk until a piece fits.

The pieces overlap as those in memory do (near_copies.py), so no pair is lost, and what is found
depends neither on the sizes of pieces nor on the machine. Legend: N images, P numbers of a
thumbnail, K pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from components.data.near_copies import SAMPLED, is_worth, near_pairs, pieces_of, possible_cuts

MOST_ROWS = 1 << 20  # images of a piece: about 220 MB
_BLOCK_ROWS = 1 << 16

# (positions, hashes, thumbnails [N, P]), ascending by position.
Images = tuple[np.ndarray, np.ndarray, np.ndarray]


def pairs_in_stream(
    images: Iterable[Images],
    max_bits: int,
    max_levels: float,
    work: Path,
    most_rows: int = MOST_ROWS,
) -> np.ndarray:
    """Return all pairs of positions (i, j), i < j, that are near, sorted, int64 [K, 2].

    Args:
        images: in blocks; each position once, no two images equal in hash and thumbnail.
        max_bits: largest difference of the hashes.
        max_levels: largest difference of any cell of the thumbnails, in levels of 255.
        work: folder for the pieces; they are gone afterwards.
        most_rows: images that are looked at in memory.
    """
    work.mkdir(parents=True, exist_ok=True)
    whole, width = work / "near.all", 0
    with open(whole, "wb") as file:
        for block in images:
            width = block[2].shape[1]
            file.write(_records(block).tobytes())
    if not width:
        whole.unlink()
        return np.empty((0, 2), dtype=np.int64)
    found, names = [np.empty((0, 2), dtype=np.int64)], itertools.count()
    stack = [whole]
    while stack:
        path = stack.pop()
        rows = path.stat().st_size // _kind(width).itemsize
        if rows <= most_rows:
            some = np.fromfile(path, dtype=_kind(width))
            pairs = near_pairs(some["hash"], some["thumbnail"], max_bits, max_levels)
            found.append(some["position"][pairs])
        else:
            stack += _cut_file(path, rows, width, max_levels, names, most_rows)
        path.unlink()
    return np.unique(np.concatenate(found), axis=0)


def _kind(width: int) -> np.dtype:
    return np.dtype([("position", "<i8"), ("hash", "<i8"), ("thumbnail", "u1", (width,))])


def _records(block: Images) -> np.ndarray:
    records = np.empty(len(block[0]), dtype=_kind(block[2].shape[1]))
    records["position"], records["hash"], records["thumbnail"] = block
    return records


def _cut_file(
    path: Path, rows: int, width: int, max_levels: float, names: Iterator[int], most_rows: int
) -> list[Path]:
    """Write overlapping pieces of a file; where no colour cuts it, pieces by brightness alone."""
    cut = _chosen_cut(_sampled(path, rows, width), max_levels)
    if cut is not None:
        cell, edges = cut

        def by_colour(start: int, block: np.ndarray) -> Iterator[np.ndarray]:
            return pieces_of(block["thumbnail"][:, cell], edges, max_levels)

        paths = _written(path, width, len(edges) - 1, by_colour, names)
        if max(piece.stat().st_size for piece in paths) <= 0.9 * path.stat().st_size:
            return paths
        for piece in paths:  # the sample was not like the rest
            piece.unlink()
    ranks = _brightness_ranks(path, rows, width)
    count = -(-rows // most_rows)

    def by_brightness(start: int, block: np.ndarray) -> Iterator[np.ndarray]:
        piece = ranks[start : start + len(block)] // most_rows
        return (np.flatnonzero(piece == number) for number in range(count))

    return _written(path, width, count, by_brightness, names)


def _chosen_cut(sample_NP: np.ndarray, max_levels: float) -> tuple[int, np.ndarray] | None:
    for cell, edges in possible_cuts(sample_NP):
        pieces = pieces_of(sample_NP[:, cell], edges, max_levels)
        if is_worth([len(piece) for piece in pieces], len(sample_NP)):
            return cell, edges
    return None


def _written(
    path: Path,
    width: int,
    count: int,
    choose: Callable[[int, np.ndarray], Iterable[np.ndarray]],
    names: Iterator[int],
) -> list[Path]:
    """Write `count` files; choose(first row, block) yields for each the rows that it gets."""
    paths = [path.with_name(f"near.{next(names)}") for _ in range(count)]
    with ExitStack() as stack:
        files = [stack.enter_context(open(piece, "wb")) for piece in paths]
        for start, block in record_blocks(path, _kind(width), _BLOCK_ROWS):
            for file, at in zip(files, choose(start, block), strict=True):
                file.write(block[at].tobytes())
    return paths


def record_blocks(path: Path, kind: np.dtype, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of the first, records) of a file of records of one kind, so many at a time."""
    start = 0
    with open(path, "rb") as file:
        while content := file.read(rows * kind.itemsize):
            block = np.frombuffer(content, dtype=kind)
            yield start, block
            start += len(block)


def _sampled(path: Path, rows: int, width: int) -> np.ndarray:
    """Return the thumbnails of rows at even distances, uint8 [N, P]."""
    step, size = max(1, rows // SAMPLED), _kind(width).itemsize
    found = []
    with open(path, "rb") as file:
        for row in range(0, rows, step):
            file.seek(row * size)
            found.append(np.frombuffer(file.read(size), dtype=_kind(width)))
    return np.concatenate(found)["thumbnail"]


def _brightness_ranks(path: Path, rows: int, width: int) -> np.ndarray:
    sums = np.empty(rows, dtype=np.int32)
    for start, block in record_blocks(path, _kind(width), _BLOCK_ROWS):
        sums[start : start + len(block)] = block["thumbnail"].sum(axis=1, dtype=np.int32)
    ranks = np.empty(rows, dtype=np.int64)
    ranks[np.argsort(sums, kind="stable")] = np.arange(rows)
    return ranks
