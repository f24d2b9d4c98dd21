"""The samples of one shard become its table: decode, cut the middle square, encode, embed the text.

A shard is a piece of work of its own, so that another machine can do it, to the same bytes. Images
are square and RGB. Legend: D width of the text embedding, T tokens of a caption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image

from components.data.at_hand import at_hand
from components.data.clip_net import open_clip
from components.data.config import FilterConfig
from components.data.decode import (
    Decoded,
    cut_square,
    decode,
    encode_jpeg,
    encode_webp,
    parse_colour,
)
from components.data.labels import Labels
from components.data.origins import Origin, OriginImages, origin_at, origin_of
from components.errors import DataError
from components.png import encode_png

ROW_COLUMNS = (  # of the scores: where the image is, and what goes beside it
    *("key", "shard", "offset", "num_bytes", "sha256"),
    *("caption", "captions", "group", "label"),
)
_TEXT_BATCH = 512
_THREADS, _FILES_AT_ONCE = 2, 32

Row = dict[str, Any]


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
    """The text side of the CLIP in a folder; a caption that comes again in a call is computed once.

    From call to call nothing is kept: what stands in a shard does not depend on the shards before.
    To another process it travels as the place of its folder, and is opened there.

    Attributes:
        place: where another process finds the folder: a path, or an address in a store.
        cut: how many captions were tokenised so far that have more tokens than CLIP reads.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        self._torch, self.place = torch, str(folder.resolve())
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.net = open_clip(folder).to(device)
        self.embedding_dim = int(self.net.embedding_dim)
        self.context_length = int(self.net.tokenize([""]).shape[1])
        self.cut = 0

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _open_there, (self.place,)

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Embed captions; returns float16 [N, D]."""
        found: dict[str, np.ndarray] = {}
        different = sorted(set(captions))
        for at in range(0, len(different), _TEXT_BATCH):
            some = different[at : at + _TEXT_BATCH]
            with self._torch.inference_mode():
                values = self.net.encode_text(some).half().cpu().numpy()
            found.update(zip(some, values, strict=True))
        return np.stack([found[caption] for caption in captions])

    def ids(self, captions: Sequence[str]) -> np.ndarray:
        """Tokenise captions; returns int32 [N, T]."""
        self.cut += sum(n > self.context_length for n in self.net.tokenize.lengths(captions))
        return self.net.tokenize(list(captions)).numpy().astype(np.int32)


def _open_there(place: str) -> ClipText:
    return ClipText(at_hand(place))


class ShardTables:
    """Tables of shards, from samples or from rows of the scores.

    Args:
        origins: the sources, each as `Origin.plain` gives it; two or more: a column `source` says
            which one a row is of.
        config: resolution_px, format, quality.
        labels: numbers of the classes.
        text_encoder: embeds the captions; None: a source without text.

    Attributes:
        schema: of every table.
    """

    def __init__(
        self,
        *,
        origins: Sequence[Row],
        config: FilterConfig,
        labels: Labels,
        text_encoder: TextEncoder | None,
    ) -> None:
        self.origins: list[Origin] = [origin_of(one) for one in origins]
        self._images = OriginImages(self.origins)
        self.readings = {origin.name: origin.config for origin in self.origins}
        self.config, self.labels = config, labels
        self.text_encoder = text_encoder
        several = self.origins[0].config.captions == "random"
        self.schema = _schema(self.text_encoder, several=several, named=len(self.origins) > 1)

    def __call__(self, items: Sequence[Row]) -> list[Row]:
        """Return {"table": bytes of Arrow's stream, "cut": captions cut} of each {"rows"}.

        Raises:
            DataError: the source is not what was scored.
        """
        return [self._made(item["rows"]) for item in items]

    def _made(self, rows: Sequence[Row]) -> Row:
        before = self.text_encoder.cut if self.text_encoder else 0
        table = self.of_rows(rows)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        cut = self.text_encoder.cut - before if self.text_encoder else 0
        return {"table": sink.getvalue().to_pybytes(), "cut": cut}

    def of_rows(self, rows: Sequence[Row]) -> pa.Table:
        """Return the table of rows of the scores, their images read again from the source.

        Args:
            rows: their ROW_COLUMNS.

        Raises:
            DataError: the source is not what was scored.
        """
        return self.of_samples(map(self._sample, rows))

    def close(self) -> None:
        """Close the files of the sources."""
        self._images.close()

    def _sample(self, row: Row) -> Sample:
        image = self._images.read(
            row["shard"], row["offset"], row["num_bytes"], row["sha256"] or ""
        )
        origin = origin_at(self.origins, row["shard"])[0].name
        words = (row["caption"], row["group"], row["label"])
        return Sample(row["key"], image, *words, tuple(row["captions"] or ()), origin)

    def of_samples(self, samples: Iterable[Sample]) -> pa.Table:
        """Return the table of all these samples.

        Raises:
            DataError: an image cannot be read.
        """
        with ThreadPoolExecutor(_THREADS) as pool:
            return self._table(list(self._squares(iter(samples), pool)))

    def _squares(self, stream: Iterator[Sample], pool: ThreadPoolExecutor) -> Iterator[Sample]:
        """Yield the samples with the middle square, encoded, in place of the file.

        Few files are held at a time, and one image per thread: memory is bounded by pixels.
        """
        encode = _encoder(self.config)

        def square(sample: Sample) -> Sample:
            source = self.readings[sample.origin]
            colour = parse_colour(source.background_rgb)
            found = decode(sample.image, colour, grey_range=source.grey_range)
            if not isinstance(found, Decoded):
                what = f"{sample.key} was readable when it was scored, now: {found}"
                raise DataError(what, "source", "score again (raise score.revision)")
            image = cut_square(found.image, self.config.resolution_px)
            return replace(sample, image=encode(image))

        # Pillow lets go of the interpreter while it works, so threads do help.
        while some := list(islice(stream, _FILES_AT_ONCE)):
            yield from pool.map(square, some)

    def _table(self, samples: Sequence[Sample]) -> pa.Table:
        captions = [sample.caption for sample in samples]
        columns: dict[str, Any] = {
            "key": [sample.key for sample in samples],
            "image": [sample.image for sample in samples],
            "caption": captions,
            "label": [self.labels.number(sample.label) for sample in samples],
            "group": [sample.group for sample in samples],
        }
        if "source" in self.schema.names:
            columns["source"] = [sample.origin for sample in samples]
        if self.text_encoder is not None:
            columns |= _embedded(captions, self.text_encoder)
        if self.text_encoder is not None and "more_captions" in self.schema.names:
            columns |= _more([list(s.captions[1:]) for s in samples], self.text_encoder)
        return pa.table(columns, schema=self.schema)


def table_of(made: Row) -> pa.Table:
    """Return the table that `ShardTables` gave as bytes."""
    return pa.ipc.open_stream(made["table"]).read_all()


def _schema(text_encoder: TextEncoder | None, *, several: bool, named: bool) -> pa.Schema:
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
    fields += [("label", pa.int32()), ("group", pa.string())]
    return pa.schema(fields + ([("source", pa.string())] if named else []))


def _encoder(config: FilterConfig) -> Callable[[Image.Image], bytes]:
    """Return how squares become bytes."""
    lossy = {"jpeg": encode_jpeg, "webp": encode_webp}.get(config.format)
    if lossy:
        return partial(lossy, quality=config.quality)
    return lambda image: encode_png(np.asarray(image))


def _embedded(captions: Sequence[str], encoder: TextEncoder) -> dict[str, pa.Array]:
    values_ND = encoder(captions).astype(np.float16)
    return {"text_embedding": _rows_of(values_ND), "token_ids": _rows_of(encoder.ids(captions))}


def _more(captions: Sequence[list[str]], encoder: TextEncoder) -> dict[str, list[Any]]:
    """Return the columns of all captions but the first of each sample."""
    return {
        "more_captions": list(captions),
        "more_embeddings": [
            encoder(some).astype(np.float16).ravel() if some else [] for some in captions
        ],
        "more_token_ids": [encoder.ids(some).ravel() if some else [] for some in captions],
    }


def _rows_of(values_ND: np.ndarray) -> pa.Array:
    """Return one list of fixed length per row."""
    flat = pa.array(np.ascontiguousarray(values_ND).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values_ND.shape[1])
