"""Score every sample of a source: one row for each, readable or not.

No threshold stands here.

The scorer takes parts of a source and reads them itself, so that a cluster's actors fetch their own
shards; the batches that CLIP sees lie inside a part, and so do not depend on who computes them.
Legend: N images, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from components.data.clip_net import open_clip
from components.data.config import SourceConfig
from components.data.decode import Decoded, centre_square, decode, parse_colour
from components.data.fingerprints import perceptual_hash, thumbnail
from components.data.reasons import Reason
from components.data.shards import ShardWriter, write_json
from components.data.sources import Part, parts, read_part
from components.data.tar_samples import Record

SCORE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("num_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("caption", pa.string()),
        ("caption_chars", pa.int32()),
        ("clip_similarity", pa.float32()),
        ("phash", pa.int64()),
        ("thumbnail", pa.binary()),
        ("group", pa.string()),
        ("label", pa.string()),
        ("reason", pa.string()),
    ]
)
SCORE_SHARD_ROWS = 100_000

Row = dict[str, Any]
MapParts = Callable[[list[Row], type, Row], list[Row]]


class SimilarityNet(Protocol):
    """What the scorer needs of a CLIP."""

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each pair, float32 [N]."""


class ClipSimilarity:
    """Cosine of image and caption by the CLIP in a folder; NaN is handed on, not hidden."""

    def __init__(self, folder: Path) -> None:
        import torch

        self._torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net = open_clip(folder).to(self.device)
        self.side = int(self.net.preprocess.image_size_px)

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each pair, float32 [N]; images are uint8 [H, W, 3] of any size."""
        torch = self._torch
        squares = np.stack([centre_square(image, self.side) for image in images])
        image_NCHW = torch.from_numpy(squares).permute(0, 3, 1, 2).to(self.device)
        with torch.inference_mode():
            image_ND = self.net(image_NCHW.float() / 127.5 - 1)["pooled"]
            text_ND = self.net.encode_text(list(captions))
            return (image_ND * text_ND).sum(1).float().cpu().numpy()


class Scorer:
    """Map parts of a source to rows.

    Args:
        source: fields of a SourceConfig.
        folder: the source's folder.
        encoders: folder that holds `clip`, asked only where the source has text.
        batch: images per call of CLIP.
        net: stands in for CLIP, in tests.
    """

    def __init__(
        self,
        *,
        source: Row,
        folder: str,
        encoders: str,
        batch: int,
        net: SimilarityNet | None = None,
    ) -> None:
        self.source = SourceConfig(**source)
        self.folder, self.batch = Path(folder), batch
        self.background = parse_colour(self.source.background_rgb)
        self.net: SimilarityNet | None = net
        if net is None and self.source.condition == "text":
            self.net = ClipSimilarity(Path(encoders) / "clip")

    def __call__(self, items: Sequence[Row]) -> list[Row]:
        """Return the rows of all samples of the parts, in stored order."""
        rows: list[Row] = []
        for item in items:
            records = read_part(self.source, self.folder, Part(**item))
            for some in _batches(records, self.batch):
                rows += self._score(some)
        return rows

    def _score(self, records: list[Record]) -> list[Row]:
        decoded = [decode(r.image, self.background) if r.image else None for r in records]
        rows = [_row(r, d) for r, d in zip(records, decoded, strict=True)]
        good = [i for i, row in enumerate(rows) if row["reason"] is None]
        if good and self.net is not None:
            images = [d.pixels_HWC for i in good if isinstance(d := decoded[i], Decoded)]
            values = self.net.similarity(images, [rows[i]["caption"] for i in good])
            for i, value in zip(good, values.tolist(), strict=True):
                rows[i]["clip_similarity"] = value
        return rows


def score_rows(
    source: SourceConfig,
    folder: Path,
    encoders: Path,
    batch: int,
    map_parts: MapParts | None = None,
    net: SimilarityNet | None = None,
) -> Iterator[Row]:
    """Yield one row for every sample of the source, in stored order.

    Args:
        source: how to read it.
        folder: its folder.
        encoders: folder that holds `clip`.
        batch: images per call of CLIP.
        map_parts: (items, worker class, constructor arguments) -> rows in order; None = a plain
            loop here.
        net: stands in for CLIP, in tests.
    """
    items = [asdict(part) for part in parts(source, folder)]
    build: Row = {"source": asdict(source), "folder": str(folder.resolve())}
    build |= {"encoders": str(encoders.resolve()), "batch": batch, "net": net}
    rows: Iterator[Row]
    if map_parts is None:
        scorer = Scorer(**build)
        rows = (row for item in items for row in scorer([item]))
    else:
        rows = iter(map_parts(items, Scorer, build))
    return _mark_repeated_keys(rows)


def write_scores(rows: Iterator[Row], out: Path) -> dict[str, Any]:
    """Write out/scores-*.parquet and out/manifest.json; return {rows, shards, reasons}."""
    writer = ShardWriter(out, "scores", SCORE_SCHEMA, SCORE_SHARD_ROWS)
    reasons: dict[str, int] = {}
    for row in rows:
        writer.write(row)
        if row["reason"]:
            reasons[str(row["reason"])] = reasons.get(str(row["reason"]), 0) + 1
    facts = writer.close() | {"reasons": reasons}
    write_json(out / "manifest.json", facts)
    return facts


def _mark_repeated_keys(rows: Iterator[Row]) -> Iterator[Row]:
    seen: set[bytes] = set()
    for row in rows:
        # 16 bytes of a hash instead of the key keep the set small.
        mark = hashlib.blake2b(row["key"].encode(), digest_size=16).digest()
        if mark in seen:
            row = {**row, "reason": Reason.SAMPLE_DUPLICATE_KEY.value, "clip_similarity": None}
        seen.add(mark)
        yield row


def _row(record: Record, decoded: Decoded | Reason | None) -> Row:
    """Return the row of a record, its similarity still open."""
    row: Row = dict.fromkeys(SCORE_SCHEMA.names)
    row |= {"key": record.key, "shard": record.shard, "offset": record.offset}
    row |= {"num_bytes": len(record.image), "caption": record.caption}
    row |= {"caption_chars": len(record.caption), "group": record.group, "label": record.label}
    if record.image:
        row["sha256"] = hashlib.sha256(record.image).hexdigest()
    if isinstance(decoded, Decoded):
        row |= {"format": decoded.format, "mode": decoded.mode}
        row |= {"width": decoded.width, "height": decoded.height}
        row["phash"] = perceptual_hash(decoded.pixels_HWC)
        row["thumbnail"] = thumbnail(decoded.pixels_HWC)
    reason = record.reason or (decoded if isinstance(decoded, Reason) else "")
    row["reason"] = str(reason) or None
    return row


def _batches(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    some: list[Record] = []
    for record in records:
        some.append(record)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
