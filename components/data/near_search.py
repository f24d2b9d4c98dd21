"""Near copies among more images than memory holds: they are cut on disk until a piece fits.

The pieces overlap as those in memory do (near_copies.py), so no pair is lost, and what is found
depends neither on the sizes of pieces nor on the machine. A file shrinks while it is cut, so the
disk holds the images about once. Legend: N images, P numbers of a thumbnail, K pairs.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from components.data.near_copies import SAMPLED, is_worth, near_pairs, pieces_of, possible_cuts

MOST_ROWS = 1 << 20  # images of a piece: about 220 MB
_BLOCK_ROWS = 1 << 16
_NAMES = ("position", "hash", "thumbnail")

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
    stack = [(whole, False)]
    while stack:
        path, alike = stack.pop()
        rows = path.stat().st_size // _kind(width).itemsize
        if rows <= most_rows:
            some = np.fromfile(path, dtype=_kind(width))
            order = np.argsort(some["position"])
            position, hashes, thumbnails = (some[name][order] for name in _NAMES)
            del some
            pairs = near_pairs(hashes, thumbnails, max_bits, max_levels)
            found.append(position[pairs])
        else:
            stack += _cut_file(path, rows, width, None if alike else max_levels, names, most_rows)
        path.unlink()
    return np.unique(np.concatenate(found), axis=0)


def _kind(width: int) -> np.dtype:
    return np.dtype([("position", "<i8"), ("hash", "<i8"), ("thumbnail", "u1", (width,))])


def _records(block: Images) -> np.ndarray:
    records = np.empty(len(block[0]), dtype=_kind(block[2].shape[1]))
    records["position"], records["hash"], records["thumbnail"] = block
    return records


def _cut_file(
    path: Path,
    rows: int,
    width: int,
    max_levels: float | None,
    names: Iterator[int],
    most_rows: int,
) -> list[tuple[Path, bool]]:
    """Cut a file into overlapping pieces, and empty it.

    Where no colour cuts it, or max_levels is None, the pieces are those of brightness alone.

    Returns:
        (piece, whether no colour tells its images apart).
    """
    cut = None
    if max_levels is not None:
        cut = _chosen_cut(_sampled(path, rows, width), max_levels)
    if cut is not None and max_levels is not None:
        cell, edges = cut

        def by_colour(start: int, block: np.ndarray) -> Iterator[np.ndarray]:
            return pieces_of(block["thumbnail"][:, cell], edges, max_levels)

        paths = _written(path, width, len(edges) - 1, by_colour, names)
        most_bytes = 0.9 * rows * _kind(width).itemsize  # more: the sample was not like the rest
        return [(piece, piece.stat().st_size > most_bytes) for piece in paths]
    ranks = _brightness_ranks(path, rows, width)
    count = -(-rows // most_rows)

    def by_brightness(start: int, block: np.ndarray) -> Iterator[np.ndarray]:
        piece = ranks[start : start + len(block)] // most_rows
        return (np.flatnonzero(piece == number) for number in range(count))

    return [(piece, False) for piece in _written(path, width, count, by_brightness, names)]


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
    """Move a file's rows to `count` files; choose(first row, block) yields the rows of each."""
    paths = [path.with_name(f"near.{next(names)}") for _ in range(count)]
    with ExitStack() as stack:
        files = [stack.enter_context(open(piece, "wb")) for piece in paths]
        for start, block in _taken_blocks(path, _kind(width), _BLOCK_ROWS):
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


def _taken_blocks(path: Path, kind: np.dtype, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the same from the last to the first, and cut each off the file."""
    with open(path, "r+b") as file:
        left = file.seek(0, os.SEEK_END) // kind.itemsize
        while left:
            start = (left - 1) // rows * rows
            file.seek(start * kind.itemsize)
            block = np.frombuffer(file.read(), dtype=kind)
            file.truncate(start * kind.itemsize)
            yield start, block
            left = start


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
