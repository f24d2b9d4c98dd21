"""The rows of scores as files on disk, read piece by piece: no table of them all is ever held.

Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.data.shards import checked_shards
from components.errors import ResourceError

ROWS_AT_ONCE = 65_536
ENGINE_MEMORY_MIB = 512  # what the engine holds before it writes to disk, up to 20 million rows
_BYTES_PER_ROW = 24  # beyond; with 5 bytes a row it stopped at 100 million
_MIB_PER_THREAD = 128  # each thread of the engine pins blocks of its own
_ORDER = ("shard", "offset", "key")


@dataclass(frozen=True)
class ScoreFiles:
    """Parquet files of scores; a row's position is its number over all of them, from 0.

    Attributes:
        files: in order.
        num_rows: of all files.
    """

    files: tuple[Path, ...]
    num_rows: int

    @classmethod
    def of(cls, files: Sequence[Path]) -> ScoreFiles:
        """Count the rows of Parquet files."""
        return cls(tuple(files), sum(pq.read_metadata(file).num_rows for file in files))

    def batches(
        self, columns: Sequence[str], first: int = 0
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (position of the first row, columns) of all rows, some thousands at a time.

        Args:
            columns: which to read.
            first: files that end before this position are not read.
        """
        at = 0
        for path in self.files:
            with pq.ParquetFile(path) as file:
                rows = file.metadata.num_rows
                if at + rows <= first:
                    at += rows
                    continue
                for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
                    yield at, batch.select(list(columns))
                    at += len(batch)

    def reader(self, columns: Sequence[str]) -> pa.RecordBatchReader:
        """Return the same as one stream for the engine, with the column `position`, int64."""
        schema = pq.read_schema(self.files[0])
        fields = [pa.field("position", pa.int64()), *(schema.field(name) for name in columns)]
        wanted = pa.schema([field.remove_metadata() for field in fields])

        def stream() -> Iterator[pa.RecordBatch]:
            for at, batch in self.batches(columns):
                place = pa.array(np.arange(at, at + len(batch)))
                yield pa.RecordBatch.from_arrays([place, *batch.columns], schema=wanted)

        return pa.RecordBatchReader.from_batches(wanted, stream())


@contextmanager
def open_engine(work: Path, num_rows: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open DuckDB on this machine alone: bounded memory, the rest on disk in `work`.

    Args:
        work: folder for its files.
        num_rows: how many rows a query will see.

    Raises:
        ResourceError: it has no room on disk or in memory.
        KeyboardInterrupt: a signal came while it was at work.
    """
    work.mkdir(parents=True, exist_ok=True)
    memory_mib = max(ENGINE_MEMORY_MIB, num_rows * _BYTES_PER_ROW >> 20)
    try:
        # No file of its own: the engine reads a ? in a database's path as the end of the name.
        with duckdb.connect(
            config={
                "memory_limit": f"{memory_mib}MiB",
                "preserve_insertion_order": "false",  # a column says the place of each row
                "temp_directory": str(work),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        ) as engine:
            usual = engine.execute("SELECT current_setting('threads')").fetchone()
            threads = min(int(usual[0]) if usual else 1, memory_mib // _MIB_PER_THREAD)
            engine.execute(f"SET threads = {threads}")
            yield engine
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        what = f"the filter's engine stopped: {str(error).splitlines()[0][:160]}"
        todo = "make room on this disk, or set GANLINE_RUNS_DIR to a folder on one with more"
        raise ResourceError(what, str(work), todo) from None
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # what becomes of an exception of a signal's handler
            raise KeyboardInterrupt("a signal") from None
        raise


def open_scores(folder: Path, schema: pa.Schema, work: Path) -> ScoreFiles:
    """Check the scores of a folder and return them sorted by place in the source.

    No result depends on the order they were made in: where the files are not sorted, a sorted copy
    is written to `work`.

    Args:
        folder: what the score stage wrote.
        schema: columns that must be there.
        work: folder for what the engine writes.

    Raises:
        DataError: a file that is not what the manifest names, or lacks a column.
    """
    scores = ScoreFiles.of(checked_shards(folder, "scores", schema))
    return scores if _sorted(scores) else _sorted_copy(scores, schema, work)


def _sorted(scores: ScoreFiles) -> bool:
    last: pa.RecordBatch | None = None
    for _, batch in scores.batches(_ORDER):
        if not len(batch):
            continue
        if last is not None:
            table = pa.Table.from_batches([last.slice(len(last) - 1), batch]).combine_chunks()
            batch = table.to_batches()[0]
        last = batch
        if not _rising(batch):
            return False
    return True


def _rising(batch: pa.RecordBatch) -> bool:
    """Tell whether each row stands after the one before it, by shard, then offset, then key."""
    wrong: pa.Array = pa.array(np.zeros(max(0, len(batch) - 1), dtype=bool))
    for name in reversed(_ORDER):
        before, after = batch[name].slice(0, len(batch) - 1), batch[name].slice(1)
        later = pc.and_(pc.equal(before, after), wrong)
        wrong = pc.or_(pc.greater(before, after), later)
    return not pc.any(wrong).as_py()


def _sorted_copy(scores: ScoreFiles, schema: pa.Schema, work: Path) -> ScoreFiles:
    path = work / "sorted.parquet"
    with open_engine(work, scores.num_rows) as engine:
        engine.register("scores", scores.reader(schema.names))
        order = ", ".join(f'"{name}"' for name in _ORDER)
        found = engine.sql(f"SELECT * EXCLUDE (position) FROM scores ORDER BY {order}")
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in found.to_arrow_reader(ROWS_AT_ONCE):
                table = pa.Table.from_batches([batch])
                writer.write_table(table.select(schema.names).cast(schema))
    return ScoreFiles.of([path])
