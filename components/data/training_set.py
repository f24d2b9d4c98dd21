"""Write the training set: kept samples with their text embedding, as Parquet shards.

Images are square and RGB. Legend: D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from components.data.clip_net import open_clip
from components.data.config import FilterConfig, SourceConfig
from components.data.decode import (
    Decoded,
    centre_square,
    decode,
    encode_jpeg,
    encode_png,
    encode_webp,
    parse_colour,
)
from components.data.labels import Labels
from components.data.origins import Origin, OriginImages, origin_at, parts_of, records_of
from components.data.reasons import Reason
from components.data.score_files import ScoreFiles
from components.data.shards import ShardWriter, move_shards, rows_per_group, write_manifest
from components.errors import DataError

_KNOWN_CAPTIONS = 65_536  # embeddings kept for captions that come again
_TEXT_BATCH = 512
_THREADS, _FILES_AT_ONCE, _ROWS_AT_ONCE = 2, 32, 1_024


@dataclass(frozen=True)
class Sample:
    """One sample to store: the bytes of its image as found, and what goes beside it.

    captions holds all captions where each epoch takes another one; else it is empty. origin is the
    name of its source among several.
    """

    key: str
    image: bytes
    caption: str
    group: str
    label: str
    captions: tuple[str, ...] = ()
    origin: str = ""


class TextEncoder(Protocol):
    """Captions -> L2-normalised embeddings, float16 [N, D], and token ids, int32 [N, T]."""

    embedding_dim: int
    context_length: int
    cut: int

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions."""

    def ids(self, captions: Sequence[str]) -> np.ndarray:
        """Tokenise captions, once for every later training."""


class ClipText:
    """The text side of the CLIP in a folder; a caption that comes again is not computed again.

    Attributes:
        cut: how many captions were tokenised so far that have more tokens than CLIP reads.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        self._torch = torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net = open_clip(folder).to(device)
        self.embedding_dim = int(self.net.embedding_dim)
        self.context_length = int(self.net.tokenize([""]).shape[1])
        self._known: dict[str, np.ndarray] = {}
        self.cut = 0

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
        self.cut += sum(n > self.context_length for n in self.net.tokenize.lengths(captions))
        return self.net.tokenize(list(captions)).numpy().astype(np.int32)


class KeptSamples:
    """The rows of the scores that `keep` marks, their images read again from the source."""

    def __init__(self, scores: ScoreFiles, keep_N: np.ndarray, origins: Sequence[Origin]) -> None:
        self.scores, self.keep_N, self.origins = scores, keep_N, origins

    def __iter__(self) -> Iterator[Sample]:
        return self.after(0)

    def after(self, count: int) -> Iterator[Sample]:
        """Yield all but the first `count` samples."""
        columns = ["key", "shard", "offset", "num_bytes", "sha256"]
        columns += ["caption", "captions", "group", "label"]
        at = np.flatnonzero(self.keep_N)[count : count + 1]
        if not len(at):
            return
        first = int(at[0])
        with OriginImages(self.origins) as reader:
            for start, batch in self.scores.batches(columns, first):
                keep = self.keep_N[start : start + len(batch)]
                rows = start + np.flatnonzero(keep)
                rows = rows[rows >= first] - start
                for some in range(0, len(rows), _ROWS_AT_ONCE):
                    for row in batch.take(pa.array(rows[some : some + _ROWS_AT_ONCE])).to_pylist():
                        place = (row["shard"], row["offset"], row["num_bytes"])
                        image = reader.read(*place, row["sha256"] or "")
                        words = (row["caption"], row["group"], row["label"])
                        origin = origin_at(self.origins, row["shard"])[0].name
                        captions = tuple(row["captions"] or ())
                        yield Sample(row["key"], image, *words, captions, origin)


def heldout_samples(
    origins: Sequence[Origin], counts: dict[str, int], labels: Labels
) -> Iterator[Sample]:
    """Yield every readable sample of the held-out sources; count all by reason ("" = good)."""
    for part in parts_of(origins):
        origin = origin_at(origins, part.shard)[0]
        source = origin.config
        colour = parse_colour(source.background_rgb)
        for record in records_of(origins, part):
            reason = record.reason
            if reason == Reason.ENTRY_HIDDEN:
                continue
            if not reason:
                found = decode(record.image, colour, grey_range=source.grey_range)
                reason = found if isinstance(found, Reason) else ""
            if not reason and source.condition == "label" and labels.number(record.label) < 0:
                reason = Reason.SAMPLE_UNKNOWN_LABEL
            counts[str(reason)] = counts.get(str(reason), 0) + 1
            if not reason:
                words = (record.caption, record.group, record.label)
                yield Sample(record.key, record.image, *words, record.captions, origin.name)


def write_training_set(
    splits: Mapping[str, Iterable[Sample]],
    out: Path,
    config: FilterConfig,
    source: SourceConfig,
    labels: Labels,
    text_encoder: TextEncoder | None,
    facts: dict[str, Any],
    work: Path | None = None,
    origins: Sequence[Origin] = (),
) -> str:
    """Write out/<split>-*.parquet and out/manifest.json; return the content hash.

    Args:
        splits: "train" and "heldout" -> samples in the order in which they are stored.
        out: folder.
        config: resolution_px, format, quality, shard_rows.
        source: how its images are read.
        labels: numbers of the classes.
        text_encoder: embeds the captions; None: a source without text.
        facts: added to the manifest.
        work: folder of shards that an earlier try with the same arguments finished; they are taken
            as they are, where the samples of a split are `KeptSamples`. None: `out` itself, anew.
        origins: where there are several, how the samples of each are read; a column `source` says
            which one a row is of.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    schema = _schema(text_encoder, several=source.captions == "random")
    if len(origins) > 1:
        schema = schema.append(pa.field("source", pa.string()))
    readings = {origin.name: origin.config for origin in origins} or {"": source}
    written = {}
    rows = rows_per_group(config.resolution_px)
    for split, samples in splits.items():
        resumes = work is not None and isinstance(samples, KeptSamples)
        writer = ShardWriter(work or out, split, schema, config.shard_rows, rows, resumes)
        done = sum(shard["rows"] for shard in writer.shards)
        stream = samples.after(done) if isinstance(samples, KeptSamples) else iter(samples)
        with ThreadPoolExecutor(_THREADS) as pool:
            squares = _squares(stream, config, readings, pool)
            while some := list(islice(squares, config.shard_rows)):
                writer.write_shard(_table(some, labels, text_encoder, schema))
        written[split] = writer.close()
    if work is not None:
        move_shards(work, out, list(splits))
    manifest = {
        "resolution_px": config.resolution_px,
        "embedding_dim": text_encoder.embedding_dim if text_encoder else 0,
        "num_labels": labels.count,
        "label_names": labels.names,
        "splits": written,
    }
    return write_manifest(out, manifest | facts)


def _schema(text_encoder: TextEncoder | None, several: bool = False) -> pa.Schema:
    fields = [("key", pa.string()), ("image", pa.binary()), ("caption", pa.string())]
    if text_encoder is not None:
        fields += [
            ("text_embedding", pa.list_(pa.float16(), text_encoder.embedding_dim)),
            ("token_ids", pa.list_(pa.int32(), text_encoder.context_length)),
        ]
        if several:  # all captions but the first; numbers one caption after the other
            fields += [
                ("more_captions", pa.list_(pa.string())),
                ("more_embeddings", pa.list_(pa.float16())),
                ("more_token_ids", pa.list_(pa.int32())),
            ]
    return pa.schema([*fields, ("label", pa.int32()), ("group", pa.string())])


def _squares(
    stream: Iterator[Sample],
    config: FilterConfig,
    readings: Mapping[str, SourceConfig],
    pool: ThreadPoolExecutor,
) -> Iterator[Sample]:
    """Yield the samples with the middle square, encoded, in place of the file.

    Few files are held at a time, and one image per thread: memory is bounded by pixels.
    """
    encode = _encoder(config)

    def square(sample: Sample) -> Sample:
        source = readings[sample.origin]
        colour = parse_colour(source.background_rgb)
        found = decode(sample.image, colour, grey_range=source.grey_range)
        if not isinstance(found, Decoded):
            what = f"{sample.key} was readable when it was scored, now: {found}"
            raise DataError(what, "source", "score again (raise score.revision)")
        return replace(sample, image=encode(centre_square(found.pixels_HWC, config.resolution_px)))

    # Pillow lets go of the interpreter while it works, so threads do help.
    while some := list(islice(stream, _FILES_AT_ONCE)):
        yield from pool.map(square, some)


def _encoder(config: FilterConfig) -> Callable[[np.ndarray], bytes]:
    """Return how squares become bytes."""
    lossy = {"jpeg": encode_jpeg, "webp": encode_webp}.get(config.format)
    return partial(lossy, quality=config.quality) if lossy else encode_png


def _table(
    samples: Sequence[Sample],
    labels: Labels,
    text_encoder: TextEncoder | None,
    schema: pa.Schema,
) -> pa.Table:
    captions = [sample.caption for sample in samples]
    columns: dict[str, Any] = {
        "key": [sample.key for sample in samples],
        "image": [sample.image for sample in samples],
        "caption": captions,
        "label": [labels.number(sample.label) for sample in samples],
        "group": [sample.group for sample in samples],
    }
    if "source" in schema.names:
        columns["source"] = [sample.origin for sample in samples]
    if text_encoder is not None:
        columns["text_embedding"] = _rows_of(text_encoder(captions).astype(np.float16))
        columns["token_ids"] = _rows_of(text_encoder.ids(captions))
    if text_encoder is not None and "more_captions" in schema.names:
        more = [list(sample.captions[1:]) for sample in samples]
        columns["more_captions"] = more
        columns["more_embeddings"] = [
            text_encoder(some).astype(np.float16).ravel() if some else [] for some in more
        ]
        columns["more_token_ids"] = [text_encoder.ids(s).ravel() if s else [] for s in more]
    return pa.table(columns, schema=schema)


def _rows_of(values_ND: np.ndarray) -> pa.Array:
    """Return one list of fixed length per row."""
    flat = pa.array(np.ascontiguousarray(values_ND).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values_ND.shape[1])
