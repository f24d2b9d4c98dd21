"""Small inputs made by hand: image files, tars, sources, score tables."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from components.data.captions import attributes_of
from components.data.config import FilterConfig, SourceConfig
from components.data.decisions import Decisions, decide
from components.data.filtering import copy_rules_of, rules_of
from components.data.labels import Labels
from components.data.score_files import open_scores
from components.data.scoring import SCORE_SCHEMA
from components.data.shard_tables import Sample
from components.data.shards import ShardWriter, write_json
from components.data.training_set import write_training_set


def png_bytes(
    width: int, height: int, depth: int, kind: int, rows: bytes, more: bytes = b""
) -> bytes:
    """Put a PNG together from its specification: `rows` are the raw lines without filter bytes."""
    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[i * stride : (i + 1) * stride] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + more
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def picture(side: int = 40, seed: int = 0) -> np.ndarray:
    """Return smooth colours with some noise, uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    smooth = Image.fromarray(corners).resize((side, side), Image.Resampling.BICUBIC)
    noise = rng.integers(-6, 7, (side, side, 3))
    return np.clip(np.asarray(smooth).astype(int) + noise, 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_plain_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar with the standard library's defaults, member by member."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def sample_members(key: str, seed: int, caption: str = "a picture") -> list[tuple[str, bytes]]:
    return [(f"{key}.png", encoded(picture(seed=seed))), (f"{key}.txt", caption.encode())]


def score_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return a table of scores: every field not given is that of a good row."""
    full = []
    for number, row in enumerate(rows):
        good = dict.fromkeys(SCORE_SCHEMA.names)
        good |= {"key": f"k{number:04d}", "shard": "a.tar", "offset": number * 1024, "width": 64}
        good |= {"height": 64, "caption": "a caption", "caption_chars": 9, "num_bytes": 10}
        good |= {"clip_similarity": 0.5, "phash": hash_of(number), "sha256": f"sha{number}"}
        good |= {"thumbnail": bytes(192), "group": "", "label": ""}
        full.append(good | row)
    return pa.Table.from_pylist(full, schema=SCORE_SCHEMA)


def write_score_files(folder: Path, table: pa.Table, shard_rows: int = 50) -> Path:
    """Write a table of scores as the score stage does."""
    writer = ShardWriter(folder, "scores", table.schema, shard_rows)
    for at in range(0, max(1, len(table)), shard_rows):
        writer.write_shard(table.slice(at, shard_rows))
    write_json(folder / "manifest.json", writer.close())
    return folder


def decided(folder: Path, table: pa.Table, config: FilterConfig, text: bool = True) -> Decisions:
    """Return what the filter decides on a table of scores."""
    scores = open_scores(write_score_files(folder, table), SCORE_SCHEMA, folder / "work")
    rules = rules_of(config, text=text)
    return decide(scores, rules, copy_rules_of(config), folder / "work")


def hash_of(number: int) -> int:
    """Return hashes of which any two differ in about 32 bits."""
    return int(np.random.default_rng(number).integers(-(2**63), 2**63))


class TruthNet:
    """Stands in for CLIP: the share of attributes that a caption tells rightly of known pixels."""

    def __init__(self, truth: dict[bytes, dict[str, str]]) -> None:
        self.truth = truth

    def small(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image)

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        found = []
        for image, caption in zip(images, captions, strict=True):
            true, told = self.truth.get(image.tobytes()), attributes_of(caption)
            same = sum(true[name] == told[name] for name in true) / 4 if true and told else 0.0
            found.append(same)
        return np.array(found, dtype=np.float32)


class FlatNet:
    """Stands in for CLIP: a cosine that depends on the image alone; can be pickled."""

    def small(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image)

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        return np.array([image.mean() / 255 for image in images], dtype=np.float32)


class HashedText:
    """Stands in for CLIP's text side: a vector that is a function of the caption."""

    embedding_dim, context_length, cut = 8, 4, 0

    def ids(self, captions: Sequence[str]) -> np.ndarray:
        return np.array([[len(c), *c.encode()[:3].ljust(3)] for c in captions], dtype=np.int32)

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(zlib.crc32(c.encode())).normal(size=8) for c in captions]
        return np.array(rows, dtype=np.float16)


def write_numbered_set(
    out: Path, rows: int, side: int = 16, shard_rows: int = 700, heldout: int = 5
) -> dict[str, np.ndarray]:
    """Write a training set whose image i is filled with the colour (i // 256, i % 256, 7)."""

    def samples(count: int, first: int) -> Iterable[Sample]:
        for i in range(first, first + count):
            pixels = np.empty((side, side, 3), np.uint8)
            pixels[:] = (i // 256, i % 256, 7)
            yield Sample(f"k{i}", encoded(pixels), f"caption {i}", "", str(i % 3))

    config = FilterConfig(resolution_px=side, shard_rows=shard_rows)
    splits = {"train": samples(rows, 0), "heldout": samples(heldout, rows)}
    labels = Labels.of(["0", "1", "2"])
    source = SourceConfig(path="")
    write_training_set(splits, out, config, source, labels, HashedText(), {"made": "by hand"})
    return {f"k{i}": np.array([i // 256, i % 256, 7]) for i in range(rows + heldout)}


def read_back(folder: Path, prefix: str) -> pa.Table:
    """Return all rows of a prefix' shards, in order."""
    paths = sorted(folder.glob(f"{prefix}-*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in paths])
