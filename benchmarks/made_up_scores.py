"""Made-up tables of scores of any size, written as the score stage writes them.

Every value is a function of the row's number, so a copy's original is drawn again without being
kept: memory holds one shard. 3 % of the rows are exact copies, 3 % near ones, a fifth of the
pictures stand on white and have nearly equal hashes. Legend: N rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.data.scoring import SCORE_SCHEMA
from components.data.shards import ShardWriter, write_json

SHARD_ROWS = 100_000
EXACT, NEAR, WHITE = 0.03, 0.03, 0.2
_TAR_ROWS = 10_000
_STREAMS = {"colour": 1, "hash": 2, "white": 3, "kind": 4, "source": 5, "noise": 6, "cosine": 7}


def write_scores(folder: Path, rows: int) -> None:
    """Write `rows` rows of scores and their manifest."""
    writer = ShardWriter(folder, "scores", SCORE_SCHEMA, SHARD_ROWS)
    for at in range(0, rows, SHARD_ROWS):
        writer.write_shard(_table(np.arange(at, min(rows, at + SHARD_ROWS)), rows))
    write_json(folder / "manifest.json", writer.close())


def copies(number_N: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Tell which rows copy an earlier one exactly, and which nearly, two bool [N].

    The first half is original, the second copies from it.
    """
    kind = _uniform("kind", number_N)
    kind[number_N < rows // 2] = 1.0
    return kind < 2 * EXACT, (kind >= 2 * EXACT) & (kind < 2 * (EXACT + NEAR))


def _table(number_N: np.ndarray, rows: int) -> pa.Table:
    is_exact, is_near = copies(number_N, rows)
    drawn = (_uniform("source", number_N) * (rows // 2)).astype(np.int64)
    source = np.where(is_exact | is_near, drawn, number_N)
    thumbs, hashes = _pictures(source)
    at = np.flatnonzero(is_near)
    noise = _bits("noise", number_N[at], thumbs.shape[1]) % np.uint64(5)
    thumbs[at] = np.clip(thumbs[at].astype(np.int16) + noise.astype(np.int16) - 2, 0, 255)
    hashes[at] ^= np.int64(1) << (_bits("noise", number_N[at], 1)[:, 0] % np.uint64(63)).view("i8")
    ends = np.arange(len(number_N) + 1, dtype=np.int32) * thumbs.shape[1]
    cells = pa.Array.from_buffers(
        pa.binary(), len(number_N), [None, pa.py_buffer(ends), pa.py_buffer(thumbs)]
    )
    columns: dict[str, Any] = {
        "key": _numbered(number_N, 11, "k"),
        "shard": _numbered(number_N // _TAR_ROWS, 6, "", ".tar"),
        "offset": number_N % _TAR_ROWS * 1_024,
        "width": np.full(len(number_N), 256, np.int32),
        "height": np.full(len(number_N), 256, np.int32),
        "caption_chars": np.full(len(number_N), 40, np.int32),
        "clip_similarity": _uniform("cosine", number_N).astype(np.float32),
        "sha256": _numbered(np.where(is_exact, source, number_N), 64),
        "phash": hashes,
        "thumbnail": cells,
        "group": pa.array([""] * len(number_N)),
        "label": pa.array([""] * len(number_N)),
    }
    arrays = [
        pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(len(number_N), f.type)
        for f in SCORE_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCORE_SCHEMA)


def _numbered(number_N: np.ndarray, width: int, before: str = "", after: str = "") -> pa.Array:
    """Return numbers as texts of one width, zeros in front, [N]."""
    digits = pc.cast(pa.array(number_N), pa.string())
    padded = pc.utf8_lpad(digits, width - len(before), "0")
    return pc.binary_join_element_wise(before, padded, after, "")


def _pictures(identity_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return thumbnails, 3 x 3 colours with slopes between, uint8 [N, 192], and hashes, int64."""
    colours = (_bits("colour", identity_N, 27) % np.uint64(256)).astype(np.float32)
    colours = colours.reshape(-1, 3, 3, 3)
    place = np.linspace(0, 2, 8, dtype=np.float32)
    weight_83 = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(3))).astype(np.float32)
    cells = np.einsum("ya,nabc,xb->nyxc", weight_83, colours, weight_83, optimize=True)
    thumbs = cells.astype(np.uint8).reshape(len(identity_N), -1)
    hashes = _bits("hash", identity_N, 1)[:, 0].view(np.int64).copy()
    white = _uniform("white", identity_N) < WHITE
    thumbs[white, :96] = 255
    hashes[white] &= ~np.int64(2**40 - 1)
    return thumbs, hashes


def _uniform(stream: str, number_N: np.ndarray) -> np.ndarray:
    return _bits(stream, number_N, 1)[:, 0] / 2.0**64


def _bits(stream: str, number_N: np.ndarray, width: int) -> np.ndarray:
    """Return random words that are a function of the stream and the number, uint64 [N, width]."""
    words = number_N.astype(np.uint64)[:, None] * np.uint64(256) + np.arange(width, dtype=np.uint64)
    words += np.uint64(_STREAMS[stream] << 56)
    # Steele, Lea and Flood, 2014: the output function of SplitMix64.
    words *= np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
