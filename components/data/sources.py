"""Read every sample of a source, good or bad, exactly once.

A source is a folder of tars, of Parquet files, or of images, here or in a store.

A source is cut into parts (a tar, a row group's file, or a range of files) that can be read in any
order and anywhere; a part's records depend on nothing else. Nothing is ever extracted to disk.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import IO

from components.data.config import SourceConfig
from components.data.far_files import Folder, Unreachable
from components.data.file_tree import (
    Tree,
    extension,
    images_of,
    is_folder,
    is_regular,
    look,
    no_folder,
    open_file,
)
from components.data.image_folder import listing, read_entries
from components.data.names import restored, shown, written
from components.data.parquet_samples import read_cell, read_parquet
from components.data.reasons import Reason
from components.data.records import Record, lost
from components.data.tar_samples import read_tar
from components.errors import DataError

__all__ = ["ImageReader", "Part", "Record", "found_in", "parts", "read_part", "settled"]

PART_FILES = 1_000  # files of an image folder that form one part
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Part:
    """A piece of a source: a tar or Parquet file by name, or files [start, stop) of a folder."""

    shard: str
    start: int = 0
    stop: int = 0


def parts(config: SourceConfig, folder: Folder) -> list[Part]:
    """List the parts of a source in their fixed order.

    Raises:
        DataError: the folder, its shards or its table are missing, or it is of no clear kind.
    """
    config = settled(config, folder)
    if config.kind == "image_folder":
        count = len(listing(folder, config).entries)
        return [Part("", at, min(at + PART_FILES, count)) for at in range(0, count, PART_FILES)]
    tree = look(folder)
    ending = "tar" if config.kind == "webdataset" else "parquet"
    names = [f for f in tree.files if extension(f) == ending]
    names += [f for f in tree.files if ending == "tar" and f.lower().endswith(_PACKED)]
    names += [f for f in tree.odd if f.endswith("/") or extension(f) == ending]
    if not names:
        raise DataError(f"no .{ending} in it", str(folder), "set source.path or source.kind")
    if all(name.lower().endswith(_PACKED) for name in names):
        what = f"{shown(names[0])} is compressed, and samples are read again by their place"
        raise DataError(what, str(folder), "unpack it to .tar")
    hidden = [Part(f"{_HIDDEN}{written(f)}") for f in tree.hidden]
    return [*(Part(written(name)) for name in sorted(names)), *hidden]


_HIDDEN = "//"  # marks the part of a hidden entry; no path inside a folder begins so


def read_part(config: SourceConfig, folder: Folder, part: Part) -> Iterator[Record]:
    """Yield the records of a part: one for each sample, and one for each hidden entry."""
    config = settled(config, folder)
    shard = part.shard
    if config.kind == "image_folder":
        yield from read_entries(folder, config, part.start, part.stop)
    elif shard.startswith(_HIDDEN):
        yield lost(shard.removeprefix(_HIDDEN), "", 0, Reason.ENTRY_HIDDEN)
    elif shard.endswith("/"):
        yield lost(shard, "", 0, look(folder).odd.get(restored(shard), Reason.FOLDER_UNREADABLE))
    elif config.kind == "parquet":
        yield from read_parquet(folder, shard, config)
    else:
        yield from read_tar(folder, shard, config)


@lru_cache(maxsize=16)
def settled(config: SourceConfig, folder: Folder) -> SourceConfig:
    """Return the configuration with its kind decided.

    Raises:
        DataError: there is no such folder, nothing in it, or two kinds in it.
    """
    if not is_folder(folder):
        raise no_folder(folder, "set source.path to your data")
    if config.kind != "auto":
        return config
    found = found_in(folder)
    kinds = [kind for kind in ("webdataset", "parquet", "image_folder") if found[kind]]
    where = shown(str(folder), 200)
    if not kinds:
        what = "no .tar, no .parquet and no image in it"
        raise DataError(what, where, "set source.path to your data")
    if len(kinds) > 1:
        counts = " and ".join(in_words(found))
        todo = f"set source.kind to {' or '.join(kinds)}"
        raise DataError(f"{counts} in it", where, todo)
    return replace(config, kind=kinds[0])  # type: ignore[arg-type]


_WORDS = {"webdataset": "tar", "parquet": "Parquet file", "image_folder": "image"}


def in_words(found: Mapping[str, int]) -> list[str]:
    """Return what `found_in` tells in words: ["2 tars", "1 image"]."""
    counts = [(found.get(kind, 0), word) for kind, word in _WORDS.items()]
    return [f"{count:,} {word}{'s' * (count > 1)}" for count, word in counts if count]


def found_in(folder: Folder) -> Counter[str]:
    """Return how many files of each kind of source a folder holds, by the name of the kind."""
    tree: Tree = look(folder)
    found: Counter[str] = Counter()
    names = set(tree.files)
    for file in [*tree.files, *tree.odd]:
        if extension(file) == "tar" or file.lower().endswith(_PACKED):
            found["webdataset"] += 1
        elif extension(file) == "parquet" and file[:-8] + ".tar" not in names:
            found["parquet"] += 1  # img2dataset writes a table beside each tar
    found["image_folder"] = sum(1 for _ in images_of(folder, tree))
    return found


class ImageReader:
    """Read image files again by (shard, offset, num_bytes), keeping the last shard open."""

    def __init__(self, config: SourceConfig, folder: Folder) -> None:
        self.config, self.folder = settled(config, folder), folder
        self._name = ""
        self._file: IO[bytes] = io.BytesIO()

    def read(self, shard: str, offset: int, num_bytes: int) -> bytes:
        """Return the bytes of one image.

        Raises:
            DataError: the source is not what was scored.
        """
        if self.config.kind == "parquet":
            return read_cell(self.folder, shard, offset, self.config)
        if shard != self._name:
            self._file.close()
            path = self.folder / restored(shard)
            try:
                if not is_regular(path):
                    raise OSError("no such file")
                self._file = open_file(path)
            except OSError as error:
                todo = "score the source again (raise score.revision)"
                raise DataError(f"gone since it was scored: {error}", shard, todo) from None
            self._name = shard
        try:
            self._file.seek(offset)
            return self._file.read(num_bytes)
        except Unreachable as error:
            raise DataError(f"not to be had now: {error}", shard, "run the stage again") from None

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
