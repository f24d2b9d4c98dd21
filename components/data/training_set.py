"""Write the training set: kept samples with their text embedding, as Parquet shards.

Images are square and RGB.

Legend: D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from components.data.clip_net import open_clip
from components.data.config import FilterConfig, SourceConfig
from components.data.decode import Decoded, centre_square, decode, encode_png, parse_colour
from components.data.reasons import Reason
from components.data.shards import ShardWriter, write_manifest
from components.data.sources import ImageReader, parts, read_part
from components.errors import DataError

_KNOWN_CAPTIONS = 65_536  # embeddings kept for captions that come again
_TEXT_BATCH = 512
_THREADS = 2


@dataclass(frozen=True)
class Sample:
    """One sample to store: the bytes of its image as found, and what goes beside it."""

    key: str
    image: bytes
    caption: str
    group: str
    label: str


class TextEncoder(Protocol):
    """Captions -> L2-normalised embeddings, float16 [N, D], and token ids, int32 [N, T]."""

    embedding_dim: int
    context_length: int

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions."""

    def ids(self, captions: Sequence[str]) -> np.ndarray:
        """Tokenise captions, once for every later training."""


class ClipText:
    """The text side of the CLIP in a folder; a caption that comes again is not computed again."""

    def __init__(self, folder: Path) -> None:
        import torch

        self._torch = torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net = open_clip(folder).to(device)
        self.embedding_dim = int(self.net.embedding_dim)
        self.context_length = int(self.net.tokenize([""]).shape[1])
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions; returns float16 [N, D]."""
        if len(self._known) > _KNOWN_CAPTIONS:
            self._known.clear()
        new = sorted(set(captions) - self._known.keys())
        for at in range(0, len(new), _TEXT_BATCH):
            some = new[at : at + _TEXT_BATCH]
            with self._torch.inference_mode():
                values = self.net.encode_text(some).half().cpu().numpy()
            self._known.update(zip(some, values, strict=True))
        return np.stack([self._known[caption] for caption in captions])

    def ids(self, captions: Sequence[str]) -> np.ndarray:
        """Tokenise captions; returns int32 [N, T]."""
        return self.net.tokenize(list(captions)).numpy().astype(np.int32)


@dataclass(frozen=True)
class Labels:
    """Class names -> numbers. Labels that are all whole numbers stand for themselves."""

    names: list[str]
    count: int

    @classmethod
    def of(cls, labels: Iterable[str]) -> Labels:
        """Number the classes that occur; none when no sample has a label."""
        found = sorted({label for label in labels if label})
        if found and all(label.isdecimal() for label in found):
            return cls([], 1 + max(int(label) for label in found))
        return cls(found, len(found))

    def number(self, label: str) -> int:
        """Return the class, -1 for none."""
        if not self.names:
            return int(label) if label.isdecimal() and int(label) < self.count else -1
        return self.names.index(label) if label in self.names else -1


def kept_samples(
    scores: pa.Table, keep: np.ndarray, source: SourceConfig, folder: Path
) -> Iterator[Sample]:
    """Yield the rows of `scores` that `keep` marks, their images read again from the source."""
    columns = ["key", "shard", "offset", "num_bytes", "caption", "group", "label"]
    with ImageReader(source, folder) as reader:
        for row in scores.select(columns).filter(pa.array(keep)).to_pylist():
            image = reader.read(row["shard"], row["offset"], row["num_bytes"])
            yield Sample(row["key"], image, row["caption"], row["group"], row["label"])


def heldout_samples(
    source: SourceConfig, folder: Path, counts: dict[str, int], labels: Labels
) -> Iterator[Sample]:
    """Yield every readable sample of the held-out source; count all by reason ("" = good)."""
    for part in parts(source, folder):
        for record in read_part(source, folder, part):
            reason = record.reason
            if not reason:
                found = decode(record.image, parse_colour(source.background_rgb))
                reason = found if isinstance(found, Reason) else ""
            if not reason and source.condition == "label" and labels.number(record.label) < 0:
                reason = Reason.SAMPLE_UNKNOWN_LABEL
            counts[str(reason)] = counts.get(str(reason), 0) + 1
            if not reason:
                yield Sample(record.key, record.image, record.caption, record.group, record.label)


def write_training_set(
    splits: Mapping[str, Iterable[Sample]],
    out: Path,
    config: FilterConfig,
    background: str,
    labels: Labels,
    text_encoder: TextEncoder | None,
    facts: dict[str, Any],
) -> str:
    """Write out/<split>-*.parquet and out/manifest.json; return the content hash.

    Args:
        splits: "train" and "heldout" -> samples in the order in which they are stored.
        out: folder.
        config: resolution_px, shard_rows.
        background: what transparent pixels are laid on, "#rrggbb".
        labels: numbers of the classes.
        text_encoder: embeds the captions; None: a source without text.
        facts: added to the manifest.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    schema = _schema(text_encoder)
    written = {}
    for split, samples in splits.items():
        rows = rows_per_group(config.resolution_px)
        writer = ShardWriter(out, split, schema, config.shard_rows, rows)
        stream = iter(samples)
        while some := list(islice(stream, config.shard_rows)):
            images = _square_files(some, config.resolution_px, background)
            writer.write_shard(_table(some, images, labels, text_encoder, schema))
        written[split] = writer.close()
    manifest = {
        "resolution_px": config.resolution_px,
        "embedding_dim": text_encoder.embedding_dim if text_encoder else 0,
        "num_labels": labels.count,
        "label_names": labels.names,
        "splits": written,
    }
    return write_manifest(out, manifest | facts)


def rows_per_group(resolution: int) -> int:
    """Return the rows of a row group, what a reader loads at once: 128, fewer for large images."""
    return max(16, min(128, 2**21 // resolution**2))


def _schema(text_encoder: TextEncoder | None) -> pa.Schema:
    fields = [("key", pa.string()), ("image", pa.binary()), ("caption", pa.string())]
    if text_encoder is not None:
        fields += [
            ("text_embedding", pa.list_(pa.float16(), text_encoder.embedding_dim)),
            ("token_ids", pa.list_(pa.int32(), text_encoder.context_length)),
        ]
    return pa.schema([*fields, ("label", pa.int32()), ("group", pa.string())])


def _square_files(samples: Sequence[Sample], side: int, background: str) -> list[bytes]:
    colour = parse_colour(background)

    def square_file(sample: Sample) -> bytes:
        found = decode(sample.image, colour)
        if not isinstance(found, Decoded):
            what = f"{sample.key} was readable when it was scored, now: {found}"
            raise DataError(what, "source", "score again (raise score.revision)")
        return encode_png(centre_square(found.pixels_HWC, side))

    # Pillow lets go of the interpreter while it works, so threads do help.
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(square_file, samples))


def _table(
    samples: Sequence[Sample],
    images: list[bytes],
    labels: Labels,
    text_encoder: TextEncoder | None,
    schema: pa.Schema,
) -> pa.Table:
    captions = [sample.caption for sample in samples]
    columns: dict[str, Any] = {
        "key": [sample.key for sample in samples],
        "image": images,
        "caption": captions,
        "label": [labels.number(sample.label) for sample in samples],
        "group": [sample.group for sample in samples],
    }
    if text_encoder is not None:
        columns["text_embedding"] = _rows_of(text_encoder(captions).astype(np.float16))
        columns["token_ids"] = _rows_of(text_encoder.ids(captions))
    return pa.table(columns, schema=schema)


def _rows_of(values_ND: np.ndarray) -> pa.Array:
    """Return one list of fixed length per row."""
    flat = pa.array(np.ascontiguousarray(values_ND).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values_ND.shape[1])
