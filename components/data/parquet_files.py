"""Parquet files that are whole and the same to the byte, and whose columns are looked at first.

A file is written beside its place and renamed.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from components.errors import DataError

MAX_GROUP_ROWS = 512
_MOST_GROUPS = 1_000  # of one long file: each is some hundred bytes of its footer
_AGAIN = "run the stage that wrote it again"


def write_table(path: Path, table: pa.Table, group_rows: int = MAX_GROUP_ROWS) -> None:
    """Write one Parquet file; columns of binary are stored as they are, the rest is compressed."""
    if not 1 <= group_rows <= MAX_GROUP_ROWS:
        raise ValueError(f"group_rows must lie in [1, {MAX_GROUP_ROWS}]; got {group_rows}")
    with TableWriter(path, table.schema, group_rows=group_rows) as writer:
        writer.write(table)


class TableWriter:
    """Write one Parquet file piece by piece; its bytes do not depend on how the pieces are cut.

    Args:
        path: it appears when all is written.
        schema: of the pieces.
        num_rows: about how many will come; row groups of a very long file are larger.
        group_rows: rows per row group otherwise.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, num_rows: int = 0, group_rows: int = MAX_GROUP_ROWS
    ) -> None:
        self._path, self._temporary = path, path.with_name(path.name + ".tmp")
        self._schema = schema
        self._group_rows = max(group_rows, -(-num_rows // _MOST_GROUPS))
        self._waiting: list[pa.Table] = []
        self._groups = 0

    def __enter__(self) -> TableWriter:
        names, schema = self._schema.names, self._schema
        raw = {f.name for f in schema if pa.types.is_binary(f.type) or _is_list(f.type)}
        self._file = open(self._temporary, "wb")
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression={n: "none" if n in raw else "zstd" for n in names},
            use_dictionary=[n for n in names if n not in raw],
            write_statistics=[n for n in names if n not in raw],
        )
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        self._waiting.append(table)
        count = sum(map(len, self._waiting))
        if whole := count - count % self._group_rows:
            rows = self._taken()
            self._write(rows.slice(0, whole))
            self._waiting = [rows.slice(whole)]

    def _taken(self) -> pa.Table:
        if len(self._waiting) == 1:
            return self._waiting[0]
        return pa.concat_tables([self._schema.empty_table(), *self._waiting]).combine_chunks()

    def _write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=self._group_rows)
        self._groups += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            with self._writer:
                if kind is None:
                    rest = self._taken()
                    if len(rest) or not self._groups:
                        self._write(rest)
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if kind is None:
            os.replace(self._temporary, self._path)


def read_columns(path: Path, schema: pa.Schema) -> pa.Table:
    """Read the columns of a schema from a Parquet file; other columns are left out.

    Raises:
        DataError: as `check_columns`.
    """
    check_columns(path, schema)
    try:
        return pq.read_table(path, columns=schema.names).cast(schema)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def check_columns(path: Path, schema: pa.Schema) -> None:
    """Look whether a Parquet file has the columns of a schema.

    Raises:
        DataError: no Parquet, a column that is missing, or one of another type; the line names
            file, column, what was found and what was wanted.
    """
    try:
        found = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    for field in schema:
        if found.get_field_index(field.name) < 0:
            raise DataError(f"no column {field.name}", str(path), _AGAIN)
        kind = found.field(field.name).type
        if kind != field.type and not pa.types.is_null(kind):
            what = f"column {field.name} holds {kind}, wanted {field.type}"
            raise DataError(what, str(path), _AGAIN)


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:160]
    return DataError(f"unreadable Parquet: {reason}", str(path), _AGAIN)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))
