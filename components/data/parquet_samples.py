"""Stream the samples of one Parquet file: a column of images, and columns of text beside it.

An image is its bytes, a struct {bytes, path} as Hugging Face writes it, or a path to a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.config import SourceConfig
from components.data.far_files import FarPath, Folder, Unreachable
from components.data.file_tree import is_regular, open_file, read_regular
from components.data.names import plain_form, restored, shown
from components.data.reasons import Reason
from components.data.records import (
    MOST_IMAGE_BYTES,
    Record,
    caption_of,
    lost,
    missing_rows,
    of_columns,
    subjects,
)
from components.data.tables import FILE_COLUMNS, captions_among, column_called
from components.errors import DataError

_ROWS_AT_ONCE = 64
# As other tools call a column of images: the usual names of paths, and what img2dataset writes.
_IMAGE_COLUMNS = (*FILE_COLUMNS, "jpg", "png", "webp", "bytes", "image_bytes")


def read_parquet(folder: Folder, shard: str, config: SourceConfig) -> Iterator[Record]:
    """Yield the records of one file in stored order; offset is the number of the row.

    Raises:
        DataError: the file has not the columns that are asked for.
    """
    path = folder / restored(shard)
    try:
        if not is_regular(path):
            raise OSError("no regular file")
        file = _file(path)
    except Unreachable:
        yield lost(f"<{shard}>", shard, 0, Reason.SHARD_UNREACHABLE)
        return
    except (OSError, pa.ArrowException):
        yield lost(f"<{shard}>", shard, 0, Reason.SHARD_UNREADABLE)
        return
    with file:
        columns = _columns(file.schema_arrow, shard, config)
        number = 0
        if not file.metadata.num_rows:
            yield lost(f"<{shard}>", shard, 0, Reason.SHARD_EMPTY)
        try:
            for batch in _batches(file, list(columns.values())):
                for row in batch.to_pylist():
                    yield from _records(folder, shard, number, row, columns, config)
                    number += 1
        except Unreachable:
            key = missing_rows(shard, number, file.metadata.num_rows)
            yield lost(key, shard, number, Reason.SHARD_UNREACHABLE)
        except (OSError, pa.ArrowException):
            yield lost(f"<{shard}>", shard, number, Reason.SHARD_TRUNCATED)


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield some rows at a time; of the file no more is fetched than a row group."""
    for group in range(file.metadata.num_row_groups):
        yield from file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=columns)


def _file(path: Folder) -> pq.ParquetFile:
    return pq.ParquetFile(open_file(path) if isinstance(path, FarPath) else path)


def read_cell(folder: Folder, shard: str, row: int, config: SourceConfig) -> bytes:
    """Return the bytes of the image of one row.

    Raises:
        DataError: the file is not what was scored.
    """
    todo = "score the source again (raise score.revision)"
    try:
        file, starts = _opened(folder / restored(shard))
        group = next(i for i in range(len(starts) - 1) if starts[i] <= row < starts[i + 1])
        name = _columns(file.schema_arrow, shard, config)["file"]
        cell = _group(folder / restored(shard), group, name)[row - starts[group]].as_py()
    except (OSError, pa.ArrowException, StopIteration) as error:
        raise DataError(f"gone since it was scored: {error}", shard, todo) from None
    return _image(folder, cell)[0] or b""


@lru_cache(maxsize=8)
def _opened(path: Folder) -> tuple[pq.ParquetFile, list[int]]:
    file = _file(path)
    starts = [0]
    for i in range(file.metadata.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(i).num_rows)
    return file, starts


@lru_cache(maxsize=2)
def _group(path: Folder, group: int, name: str) -> pa.ChunkedArray:
    return _opened(path)[0].read_row_group(group, columns=[name]).column(0)


def _columns(schema: pa.Schema, shard: str, config: SourceConfig) -> dict[str, str]:
    """Return what a column is for -> its name.

    Raises:
        DataError: one that is asked for is absent.
    """
    there = schema.names
    wanted = {"file": column_called(config.file_column, "file", _IMAGE_COLUMNS, there)}
    if config.condition == "text":
        wanted |= {f"caption {name}": name for name in captions_among(there, config)}
    if config.group_column:
        wanted["group"] = config.group_column
    wanted |= {f"label {name}": name for name in config.label_columns}
    for use, name in wanted.items():
        if name not in there:
            what = f"no column {name!r}; it has {', '.join(shown(n) for n in there[:12]) or 'none'}"
            raise DataError(what, shown(shard), f"set source.{use.split()[0]}_column")
    kind = schema.field(wanted["file"]).type
    if not (_is_text(kind) or _is_bytes(kind) or pa.types.is_struct(kind)):
        what = f"column {wanted['file']!r} is {kind}; wanted: bytes, {{bytes, path}} or a path"
        raise DataError(what, shown(shard), "set source.file_column")
    return wanted


def _records(
    folder: Folder,
    shard: str,
    number: int,
    row: dict[str, Any],
    columns: dict[str, str],
    config: SourceConfig,
) -> Iterator[Record]:
    def fact(column: str) -> str:
        value = row.get(column) if column else None
        return "" if value is None else caption_of(str(value))[0]

    image, reason = _image(folder, row[columns["file"]])
    label = config.label_of(fact) if config.condition != "none" else ""
    group, key = fact(config.group_column), f"{shard}:{number}"
    record = Record(key, shard, number, image or b"", "", group, label, reason)
    captions = of_columns(row[name] for use, name in columns.items() if use.startswith("caption "))
    yield from subjects(record, captions, config)


def _image(folder: Folder, cell: Any) -> tuple[bytes | None, str]:
    """Return the bytes that a cell holds or names, or the reason why there are none."""
    if isinstance(cell, dict):
        content = cell.get("bytes")
        cell = content if content else cell.get("path")
    if isinstance(cell, str):
        name = plain_form(cell)
        if os.path.isabs(cell) or ".." in name.split("/") or name[1:2] == ":":
            return None, Reason.SHARD_UNSAFE_MEMBER
        try:
            cell = read_regular(folder / name, MOST_IMAGE_BYTES)
        except (OSError, ValueError):
            return None, Reason.SAMPLE_MISSING_IMAGE
        if cell is None:
            return None, Reason.IMAGE_TOO_MANY_BYTES
    if not isinstance(cell, bytes) or not cell:
        return None, Reason.SAMPLE_MISSING_IMAGE
    if len(cell) > MOST_IMAGE_BYTES:
        return None, Reason.IMAGE_TOO_MANY_BYTES
    return cell, ""


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
