"""Score every sample of a source: one row for each, readable or not.

No threshold stands here; what a column says is the scorers' business (scorers/).

The scorer takes parts of a source and reads them itself, so that a cluster's actors fetch their own
shards; the batches that CLIP sees lie inside a part, and so do not depend on who computes them.
Legend: N images, D width of CLIP's embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.data.at_hand import at_hand
from components.data.config import ScoreConfig, SourceConfig
from components.data.decode import Decoded, decode, parse_colour
from components.data.origins import origin_at, origin_of, records_of
from components.data.reasons import Reason
from components.data.records import Record
from components.data.scorers.base import EmbeddingNet, Setting, scorer_class
from components.data.scorers.clip import ClipSimilarity
from components.data.sources import Part

SCORE_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("num_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("grey_max", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("caption", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("caption_chars", pa.int32()),
        ("clip_similarity", pa.float32()),
        ("phash", pa.int64()),
        ("thumbnail", pa.binary()),
        ("group", pa.string()),
        ("label", pa.string()),
        ("reason", pa.string()),
    ]
)

Row = dict[str, Any]


def score_schema(config: ScoreConfig) -> pa.Schema:
    """Return the columns of the scores: those of every table, then what the scorers add."""
    schema = SCORE_SCHEMA
    for name in config.scorers:
        for column, kind in scorer_class(name).columns.items():
            if column not in schema.names:
                schema = schema.append(pa.field(column, kind))
    return schema


class Scorer:
    """Map parts of a source to rows.

    Args:
        origins: the sources, each as `Origin.plain` gives it.
        encoders: folder that holds `clip`, or its address in a store; asked only where a scorer
            needs it.
        score: fields of a ScoreConfig.
        net: stands in for CLIP, in tests.
    """

    def __init__(
        self,
        *,
        origins: Sequence[Row],
        encoders: str,
        score: Row,
        net: EmbeddingNet | None = None,
    ) -> None:
        self.origins, self.config = [origin_of(one) for one in origins], ScoreConfig(**score)
        self.columns = score_schema(self.config).names
        kinds = [scorer_class(name) for name in self.config.scorers]
        self.compares = "clip" in self.config.scorers and self.origins[0].config.condition == "text"
        self.embeds = any(kind.embeds for kind in kinds)
        self.net: EmbeddingNet | None = net
        if net is None and (self.compares or self.embeds or any(kind.reads for kind in kinds)):
            self.net = ClipSimilarity(at_hand(encoders) / "clip")
        named = zip(self.config.scorers, kinds, strict=True)
        self.scorers = [kind(self._setting(name)) for name, kind in named]

    def _setting(self, name: str) -> Setting:
        path = self.config.heads.get(name)
        width = int(getattr(self.net, "embedding_dim", 0))
        return Setting(width, Path(path) if path else None, self.config.language)

    def __call__(self, items: Sequence[Row]) -> list[Row]:
        """Return the rows of all samples of the parts, in stored order."""
        rows: list[Row] = []
        for item in items:
            part = Part(**item)
            source = origin_at(self.origins, part.shard)[0].config
            records = records_of(self.origins, part)
            while some := self._score(islice(records, self.config.batch), source):
                rows += some
        return rows

    def _score(self, records: Iterable[Record], source: SourceConfig) -> list[Row]:
        """Return the rows of one batch; of an image no more is held than the net looks at."""
        background = parse_colour(source.background_rgb)
        rows: list[Row] = []
        asked: list[int] = []
        images: list[np.ndarray] = []
        captions: list[tuple[str, ...]] = []
        for record in records:
            found: Decoded | Reason | None = None
            if record.is_looked_at:
                found = decode(record.image, background, grey_range=source.grey_range)
            rows.append(self._row(record, found))
            if rows[-1]["reason"] is None and self.net is not None and isinstance(found, Decoded):
                asked.append(len(rows) - 1)
                images.append(self.net.small(found.image))
                captions.append(record.captions or (record.caption,))
        if asked and self.net is not None:
            some = [rows[number] for number in asked]
            embedding_ND = self.net.embed(images) if self.embeds else None
            for scorer in self.scorers:
                if embedding_ND is not None:
                    _add(some, scorer.of_embeddings(embedding_ND))
                if scorer.reads:
                    _add(some, scorer.of_captions(captions, self.net))
            if self.compares:
                _add_similarity(some, self.net, images, captions, embedding_ND)
        return rows

    def _row(self, record: Record, decoded: Decoded | Reason | None) -> Row:
        """Return the row of a record, without what CLIP says."""
        row: Row = dict.fromkeys(self.columns)
        row |= {"key": record.key, "shard": record.shard, "offset": record.offset}
        row |= {"num_bytes": len(record.image), "caption": record.caption}
        row["captions"] = list(record.captions) or None
        row |= {"caption_chars": len(record.caption), "group": record.group, "label": record.label}
        if record.image:
            row["sha256"] = hashlib.sha256(record.image).hexdigest()
        if isinstance(decoded, Decoded):
            row |= {"format": decoded.format, "mode": decoded.mode}
            row["grey_max"] = decoded.grey_max or None
            row |= {"width": decoded.width, "height": decoded.height}
            for scorer in self.scorers:
                row |= scorer.of_sample(record, decoded)
        reason = record.reason or (decoded if isinstance(decoded, Reason) else "")
        row["reason"] = str(reason) or None
        return row


def _add(rows: Sequence[Row], found: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of a batch into its rows."""
    for column, values in found.items():
        for row, value in zip(rows, values, strict=True):
            row[column] = value


def _add_similarity(
    rows: Sequence[Row],
    net: EmbeddingNet,
    images: Sequence[np.ndarray],
    captions: Sequence[Sequence[str]],
    embedding_ND: np.ndarray | None,
) -> None:
    of_row = [number for number, texts in enumerate(captions) for _ in texts]
    told = [text for texts in captions for text in texts]
    if embedding_ND is None:
        cosines = net.similarity([images[number] for number in of_row], told)
    else:
        cosines = net.cosines(embedding_ND[of_row], told)
    for number, value in zip(of_row, cosines, strict=True):
        # Of several captions the worst decides: each of them will be trained on.
        before = rows[number]["clip_similarity"]
        known = float(value) if before is None else min(before, float(value))
        rows[number]["clip_similarity"] = float("nan") if np.isnan(value) else known
