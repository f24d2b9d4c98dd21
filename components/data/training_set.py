"""Write the training set: kept samples with their text embedding, as Parquet shards.

How the samples of a shard become its table: shard_tables.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.data.config import FilterConfig, SourceConfig
from components.data.decode import decode, parse_colour
from components.data.labels import Labels
from components.data.origins import Origin, origin_at, parts_of, records_of
from components.data.reasons import Reason
from components.data.score_files import ScoreFiles
from components.data.score_parts import MapParts
from components.data.shard_tables import (
    ROW_COLUMNS,
    Row,
    Sample,
    ShardTables,
    TextEncoder,
    table_of,
)
from components.data.shards import ShardWriter, move_shards, rows_per_group, write_manifest

_ROWS_AT_ONCE = 1_024


class KeptSamples:
    """The rows of the scores that `keep` marks, their images read again from the source."""

    def __init__(self, scores: ScoreFiles, keep_N: np.ndarray, origins: Sequence[Origin]) -> None:
        self.scores, self.keep_N, self.origins = scores, keep_N, origins

    def rows(self, count: int = 0) -> Iterator[Row]:
        """Yield the ROW_COLUMNS of all but the first `count` rows; no image is read."""
        at = np.flatnonzero(self.keep_N)[count : count + 1]
        if not len(at):
            return
        first = int(at[0])
        for start, batch in self.scores.batches(list(ROW_COLUMNS), first):
            keep = self.keep_N[start : start + len(batch)]
            rows = start + np.flatnonzero(keep)
            rows = rows[rows >= first] - start
            for some in range(0, len(rows), _ROWS_AT_ONCE):
                yield from batch.take(pa.array(rows[some : some + _ROWS_AT_ONCE])).to_pylist()


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
    splits: Mapping[str, Iterable[Sample] | KeptSamples],
    out: Path,
    config: FilterConfig,
    source: SourceConfig,
    labels: Labels,
    text_encoder: TextEncoder | None,
    facts: dict[str, Any],
    work: Path | None = None,
    map_parts: MapParts | None = None,
) -> str:
    """Write out/<split>-*.parquet and out/manifest.json; return the content hash.

    Args:
        splits: "train" and "heldout" -> samples in the order in which they are stored. Where those
            of `KeptSamples` are of several sources, a column `source` says which one a row is of.
        out: folder.
        config: resolution_px, format, quality, shard_rows.
        source: how its images are read, where no `KeptSamples` tell.
        labels: numbers of the classes.
        text_encoder: embeds the captions; None: a source without text.
        facts: added to the manifest.
        work: folder of shards that an earlier try with the same arguments finished; they are taken
            as they are, where the samples of a split are `KeptSamples`. None: `out` itself, anew.
        map_parts: makes the tables of `KeptSamples` elsewhere, in order. None: here.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    told = (split.origins for split in splits.values() if isinstance(split, KeptSamples))
    origins = next(told, [Origin(source, Path())])
    build: Row = {"origins": [origin.plain() for origin in origins], "config": config}
    build |= {"labels": labels, "text_encoder": text_encoder}
    sizes = (config.shard_rows, rows_per_group(config.resolution_px))
    with closing(ShardTables(**build)) as tables:
        writers = {}
        for split, samples in splits.items():
            resumes = work is not None and isinstance(samples, KeptSamples)
            writers[split] = ShardWriter(work or out, split, tables.schema, *sizes, resumes)
        for split, table in _tables(splits, writers, tables, build, map_parts):
            writers[split].write_shard(table)
        written = {split: writer.close() for split, writer in writers.items()}
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


def _tables(
    splits: Mapping[str, Iterable[Sample] | KeptSamples],
    writers: Mapping[str, ShardWriter],
    tables: ShardTables,
    build: Row,
    map_parts: MapParts | None,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield (split, table) for each shard that the split's writer does not have yet, in order."""
    for split, samples in splits.items():
        if not isinstance(samples, KeptSamples):
            for some in _in_shards(samples, writers[split].shard_rows):
                yield split, tables.of_samples(some)
    todo = _missing_shards(splits, writers)
    if map_parts is None:
        for split, rows in todo:
            yield split, tables.of_rows(rows)
        return
    order: deque[str] = deque()

    def items() -> Iterator[Row]:
        for split, rows in todo:
            order.append(split)
            yield {"rows": rows}

    for _, (made,) in map_parts(items(), ShardTables, build):
        if tables.text_encoder is not None:
            tables.text_encoder.cut += made["cut"]
        yield order.popleft(), table_of(made)


def _missing_shards(
    splits: Mapping[str, Iterable[Sample] | KeptSamples], writers: Mapping[str, ShardWriter]
) -> Iterator[tuple[str, list[Row]]]:
    """Yield (split, its rows) for each shard of `KeptSamples` that is not there."""
    for split, samples in splits.items():
        if isinstance(samples, KeptSamples):
            done = sum(shard["rows"] for shard in writers[split].shards)
            for rows in _in_shards(samples.rows(done), writers[split].shard_rows):
                yield split, rows


def _in_shards(rows: Iterable[Any], shard_rows: int) -> Iterator[list[Any]]:
    stream = iter(rows)
    while some := list(islice(stream, shard_rows)):
        yield some
