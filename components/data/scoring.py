"""Score every sample of a source: one row for each, readable or not.

No threshold stands here.

The scorer takes parts of a source and reads them itself, so that a cluster's actors fetch their own
shards; the batches that CLIP sees lie inside a part, and so do not depend on who computes them.
Legend: N images, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from components.data.clip_net import open_clip
from components.data.config import SourceConfig
from components.data.decode import Decoded, centre_square, decode, parse_colour
from components.data.fingerprints import perceptual_hash, thumbnail
from components.data.reasons import Reason
from components.data.records import Record
from components.data.sources import Part, read_part

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


class SimilarityNet(Protocol):
    """What the scorer needs of a CLIP."""

    def small(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """Return what is kept of an image until its batch is full."""

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

    def small(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """Return what is looked at of an image, uint8 [side, side, 3]."""
        return centre_square(pixels_HWC, self.side)

    def similarity(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """Return the cosine of each pair, float32 [N]; images as `small` returns them."""
        torch = self._torch
        image_NCHW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device)
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
            while some := self._score(islice(records, self.batch)):
                rows += some
        return rows

    def _score(self, records: Iterable[Record]) -> list[Row]:
        """Return the rows of one batch; of an image no more is held than the net looks at."""
        rows: list[Row] = []
        asked: list[int] = []
        images: list[np.ndarray] = []
        captions: list[str] = []
        for record in records:
            found: Decoded | Reason | None = None
            if record.image and record.reason != Reason.ENTRY_HIDDEN:
                found = decode(record.image, self.background, grey_range=self.source.grey_range)
            rows.append(_row(record, found))
            if rows[-1]["reason"] is None and self.net is not None and isinstance(found, Decoded):
                small = self.net.small(found.pixels_HWC)
                for caption in record.captions or (record.caption,):
                    asked.append(len(rows) - 1)
                    images.append(small)
                    captions.append(caption)
        if asked and self.net is not None:
            for row, value in zip(asked, self.net.similarity(images, captions), strict=True):
                # Of several captions the worst decides: each of them will be trained on.
                before = rows[row]["clip_similarity"]
                known = float(value) if before is None else min(before, float(value))
                rows[row]["clip_similarity"] = float("nan") if np.isnan(value) else known
        return rows


def _row(record: Record, decoded: Decoded | Reason | None) -> Row:
    """Return the row of a record, its similarity still open."""
    row: Row = dict.fromkeys(SCORE_SCHEMA.names)
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
        row["phash"] = perceptual_hash(decoded.pixels_HWC)
        row["thumbnail"] = thumbnail(decoded.pixels_HWC)
    reason = record.reason or (decoded if isinstance(decoded, Reason) else "")
    row["reason"] = str(reason) or None
    return row
