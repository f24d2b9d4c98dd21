"""Read every sample of a source, good or bad, exactly once.

A source is a folder of tars, or images with a table.

A source is cut into parts (a tar, or a range of files) that can be read in any order and anywhere;
a part's records depend on nothing else. Nothing is ever extracted to disk.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from components.data.config import SourceConfig
from components.data.reasons import Reason
from components.data.tar_samples import Record, read_tar, subject_of
from components.errors import DataError

__all__ = ["ImageReader", "Part", "Record", "parts", "read_part"]

PART_FILES = 1_000  # files of an image folder that form one part
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Part:
    """A piece of a source: a tar by name, or files [start, stop) of an image folder."""

    shard: str
    start: int = 0
    stop: int = 0


def parts(config: SourceConfig, folder: Path) -> list[Part]:
    """List the parts of a source in their fixed order.

    Raises:
        DataError: the folder, its shards or its table are missing.
    """
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "set source.path to your data")
    if config.kind == "webdataset":
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.tar"))
        if not names:
            raise DataError("no .tar in it", str(folder), "set source.path or source.kind")
        return [Part(name) for name in names]
    count = len(_folder_rows(folder, config))
    return [Part("", at, min(at + PART_FILES, count)) for at in range(0, count, PART_FILES)]


def read_part(config: SourceConfig, folder: Path, part: Part) -> Iterator[Record]:
    """Yield one record for each sample of a part."""
    if config.kind == "webdataset":
        yield from read_tar(folder, part.shard, config)
        return
    for row in _folder_rows(folder, config)[part.start : part.stop]:
        yield _folder_record(folder, row, config)


class ImageReader:
    """Read image files again by (shard, offset, num_bytes), keeping the last shard open."""

    def __init__(self, config: SourceConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self._name = ""
        self._file: IO[bytes] = io.BytesIO()

    def read(self, shard: str, offset: int, num_bytes: int) -> bytes:
        """Return the bytes of one image.

        Raises:
            DataError: the source is not what was scored.
        """
        if shard != self._name:
            self._file.close()
            try:
                self._file = open(self.folder / shard, "rb")  # noqa: SIM115 - kept open
            except OSError as error:
                todo = "score the source again (raise score.revision)"
                raise DataError(f"gone since it was scored: {error}", shard, todo) from None
            self._name = shard
        self._file.seek(offset)
        return self._file.read(num_bytes)

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@dataclass(frozen=True)
class _FolderRow:
    """One image of a folder and what the table says of it; caption None: not in the table."""

    file: str
    caption: str | None
    group: str = ""
    label: str = ""


@lru_cache(maxsize=4)
def _folder_rows(folder: Path, config: SourceConfig) -> list[_FolderRow]:
    """Return the table's rows, then the images that it does not name, sorted."""
    needs_table = config.condition == "text" or config.label_columns or config.group_column
    rows = _table_rows(folder, config) if needs_table else []
    named = {row.file for row in rows}
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    images = sorted(f for f in found if f.lower().endswith(IMAGE_SUFFIXES) and f not in named)
    return rows + [_FolderRow(file, None) for file in images]


def _table_rows(folder: Path, config: SourceConfig) -> list[_FolderRow]:
    table = folder / config.captions_file
    tabs = table.suffix != ".csv"
    try:
        # Bytes that are not UTF-8 come through as surrogates and are refused per row.
        with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            # A table with tabs has no quoting: a quote sign in a caption is just that.
            tsv = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            reader = tsv if tabs else csv.DictReader(file)
            _check_columns(table, config, list(reader.fieldnames or []))
            return [_row(line, config) for line in reader]
    except (OSError, csv.Error) as error:
        raise DataError(
            f"no readable table: {error}", str(table), "set source.captions_file"
        ) from None


def _row(line: dict[str, str | None], config: SourceConfig) -> _FolderRow:
    def cell(column: str) -> str:
        return (line.get(column) or "") if column else ""

    caption = cell(config.caption_column) if config.condition == "text" else None
    return _FolderRow(
        cell(config.file_column), caption, cell(config.group_column), config.label_of(cell)
    )


def _check_columns(table: Path, config: SourceConfig, columns: list[str]) -> None:
    wanted = [("file_column", config.file_column), ("group_column", config.group_column)]
    wanted += [("label_column", name) for name in config.label_columns]
    if config.condition == "text":
        wanted.append(("caption_column", config.caption_column))
    for field, name in wanted:
        if name and name not in columns:
            known = ", ".join(columns) or "none"
            raise DataError(
                f"no column {name!r}; it has {known}", str(table), f"set source.{field}"
            )


def _folder_record(folder: Path, row: _FolderRow, config: SourceConfig) -> Record:
    key = row.file.encode("utf-8", "replace").decode()
    path = PurePosixPath(row.file)
    if path.is_absolute() or ".." in path.parts or not row.file:
        return Record(key, "", 0, b"", "", reason=Reason.SHARD_UNSAFE_MEMBER)
    try:
        image = (folder / row.file).read_bytes()
    except (OSError, ValueError):
        return Record(key, row.file, 0, b"", "", reason=Reason.SAMPLE_MISSING_IMAGE)
    label = row.label if config.condition != "none" else ""
    if config.condition == "label" and not config.label_columns:
        label = path.parent.name
    caption, reason = subject_of(row.caption, label, config)
    return Record(key, row.file, 0, image, caption, row.group, label, reason)
