"""The table of scores as arrays: 250 bytes a row, no Python object for any.

Legend: N rows, P numbers of a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.data.fingerprints import THUMBNAIL_PX


@dataclass(frozen=True)
class Columns:
    """The columns that rules look at, each [N], in the order of the table.

    digest is the start of the file's SHA-256 (32 digits), place a number for each image (several
    rows of one image are its captions), thumbnail_NP uint8 rows; all zero where there is none.
    """

    width: np.ndarray
    height: np.ndarray
    caption_chars: np.ndarray
    clip_similarity: np.ndarray
    digest: np.ndarray
    place: np.ndarray
    phash: np.ndarray
    thumbnail_NP: np.ndarray


def columns_of(scores: pa.Table) -> Columns:
    """Return the columns of a table of scores."""

    def numbers(name: str, missing: float) -> np.ndarray:
        return np.asarray(scores[name].fill_null(missing).to_numpy())

    return Columns(
        width=numbers("width", 0),
        height=numbers("height", 0),
        caption_chars=numbers("caption_chars", 0),
        clip_similarity=numbers("clip_similarity", float("nan")),
        digest=_digests(scores["sha256"]),
        place=_places(scores["shard"], scores["offset"]),
        phash=numbers("phash", 0),
        thumbnail_NP=_thumbnails(scores["thumbnail"]),
    )


def _digests(column: pa.ChunkedArray) -> np.ndarray:
    """Return the first 128 bits of each hash, 32 digits, b"" for none, [N]."""
    found = np.zeros(len(column), dtype="S32")
    at = 0
    for chunk in column.chunks:
        found[at : at + len(chunk)] = np.array(chunk.fill_null("").to_pylist(), dtype="S32")
        at += len(chunk)
    return found


def _places(shard: pa.ChunkedArray, offset: pa.ChunkedArray) -> np.ndarray:
    """Number the images: rows beside each other of one shard and offset are one image."""
    if not len(shard):
        return np.empty(0, dtype=np.int64)
    codes = shard.combine_chunks().dictionary_encode().indices.to_numpy()
    offsets = offset.to_numpy()
    new = np.ones(len(codes), dtype=bool)
    new[1:] = (codes[1:] != codes[:-1]) | (offsets[1:] != offsets[:-1])
    return np.cumsum(new)


def _thumbnails(column: pa.ChunkedArray) -> np.ndarray:
    width = 3 * THUMBNAIL_PX**2
    found = np.zeros((len(column), width), dtype=np.uint8)
    at = 0
    for chunk in column.chunks:
        there = np.flatnonzero(chunk.is_valid().to_numpy(zero_copy_only=False))
        joined = np.frombuffer(b"".join(chunk.drop_null().to_pylist()), dtype=np.uint8)
        found[at + there] = joined.reshape(len(there), width)
        at += len(chunk)
    return found
