"""Shards of a training set in a store, for a cluster without a file system that all nodes share.

Each row group is an object of its own, a small Parquet file that is named by its hash: a reader
fetches what it needs and no more, and what was changed in the store does not fit its name. What was
fetched stays in a folder of bounded size. The manifest is the one of shards on disk: where they lie
is nothing that a training depends on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.far_files import FarPath, Folder, far_bytes, place_of
from components.data.far_objects import write_object
from components.data.shards import read_manifest, write_json
from components.errors import DataError, StorageError

FILE = "store.json"
CACHE, CACHE_GIB, USUAL_GIB = "GANLINE_CACHE_DIR", "GANLINE_CACHE_GIB", 20.0
_AT_ONCE = 4  # objects on their way
_LOOKED_AFTER = 64  # new files in the cache, until its size is looked at


def move_to_store(folder: Path, place: str) -> None:
    """Move the shards of a finished training set to a store, and write where they are.

    Args:
        folder: what `write_training_set` wrote; its manifest stays, its shards go.
        place: folder or URI.

    Raises:
        StorageError: the store does not take them.
    """
    told = send_shards(folder, place)
    write_json(folder / FILE, told)
    for name in told["row_groups"]:
        (folder / name).unlink()


def send_shards(folder: Path, place: str) -> dict[str, Any]:
    """Copy the shards of a training set to a store; return what `store.json` holds.

    Objects that are there already are not sent again, so a try that was cut off goes on.

    Args:
        folder: what `write_training_set` wrote.
        place: folder or URI.

    Raises:
        StorageError: the store does not take them.
    """
    target, manifest = place_of(place), read_manifest(folder)
    files = [shard["file"] for split in manifest["splits"].values() for shard in split["shards"]]
    told: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name in files:
            waiting: list[tuple[dict[str, Any], Future[None]]] = []
            for rows, content in _blocks(folder / name):
                sha256 = hashlib.sha256(content).hexdigest()
                entry = {"rows": rows, "bytes": len(content), "sha256": sha256}
                where = _object(target, sha256)
                sent = pool.submit(write_object, where, content, known=True)
                waiting.append((entry, sent))
                if len(waiting) >= _AT_ONCE:  # no more than these are held
                    waiting[-_AT_ONCE][1].result()
            for _, sent in waiting:
                sent.result()
            told[name] = [entry for entry, _ in waiting]
    return {"place": place, "row_groups": told}


class StoredShards:
    """Read row groups of a training set from its store, by way of a folder of bounded size.

    Args:
        folder: with store.json.
        cache: None = what GANLINE_CACHE_DIR names, else ~/.cache/ganline/rows.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        path = folder / FILE
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            self._groups: dict[str, list[dict[str, Any]]] = told["row_groups"]
            self._place = place_of(told["place"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"unreadable: {error!r}", str(path), "filter again") from None
        usual = Path(os.environ.get(CACHE) or "~/.cache/ganline/rows").expanduser()
        self._cache = usual if cache is None else cache
        self._most_bytes = int(_limit_gib() * 2**30)
        self._new, self._lock = 0, threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ahead")
        self._coming: dict[str, Future[bytes]] = {}

    @classmethod
    def of(cls, folder: Path) -> StoredShards | None:
        """Return the store of a training set; None where its shards lie beside the manifest."""
        return cls(folder) if (folder / FILE).is_file() else None

    def sizes(self, file: str) -> list[int]:
        """Return the rows of each row group of a shard."""
        return [int(group["rows"]) for group in self._entries(file)]

    def read(self, file: str, group: int) -> pa.Table:
        """Return one row group.

        Raises:
            DataError: what the store holds has another hash.
            StorageError: the store does not answer.
        """
        sha256 = str(self._entries(file)[group]["sha256"])
        with self._lock:
            coming = self._coming.pop(sha256, None)
        content = coming.result() if coming else self._content(sha256)
        return pq.read_table(io.BytesIO(content), use_threads=False)

    def read_ahead(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Begin to fetch what is read next; what was begun before and not read is dropped."""
        names = [str(self._entries(file)[group]["sha256"]) for file, group in wanted]
        with self._lock:
            for name in self._coming.keys() - set(names):
                self._coming.pop(name).cancel()
            for name in names:
                if name not in self._coming and not (self._cache / name).is_file():
                    self._coming[name] = self._pool.submit(self._content, name)

    def _entries(self, file: str) -> list[dict[str, Any]]:
        try:
            return self._groups[file]
        except KeyError:
            what = f"nothing of {file} in {FILE}"
            raise DataError(what, str(self._place), "filter again") from None

    def _content(self, sha256: str) -> bytes:
        kept = self._cache / sha256
        with suppress(OSError):
            content = kept.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                os.utime(kept)  # the longest unused goes first
                return content
        where = _object(self._place, sha256)
        for _ in range(2):  # an answer may be a lie, once
            try:
                content = far_bytes(where) if isinstance(where, FarPath) else where.read_bytes()
            except OSError as error:
                what = f"a row group is not to be had: {error}"
                raise StorageError(
                    what, str(where), "run it again when the store answers"
                ) from None
            if hashlib.sha256(content).hexdigest() == sha256:
                self._keep(kept, content)
                return content
        what = "a row group in the store is not the one that was written"
        raise DataError(what, str(where), "filter again")

    def _keep(self, path: Path, content: bytes) -> None:
        """Write a file into the cache; a disk that is full costs the cache, not the training."""
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(content)
            os.replace(file.name, path)
        with self._lock:
            self._new += 1
            looks = self._new % _LOOKED_AFTER == 1
        if looks:
            _shrink(self._cache, self._most_bytes)


def _limit_gib() -> float:
    text = os.environ.get(CACHE_GIB, str(USUAL_GIB))
    try:
        return max(0.0, float(text))
    except ValueError:
        raise DataError(f"got {text!r}", CACHE_GIB, "give a number of GiB") from None


def _shrink(folder: Path, most_bytes: int) -> None:
    """Delete the files that were not used for longest, until the rest is below the limit."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process is at the same
                found.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most_bytes:
            return
        with suppress(OSError):
            os.unlink(path)
        total -= size


def _object(place: Folder, sha256: str) -> Folder:
    return place / sha256[:2] / f"{sha256}.parquet"


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of each row group, and the Parquet file that holds it alone."""
    with pq.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            out = io.BytesIO()
            pq.write_table(table, out, compression="zstd", row_group_size=max(1, len(table)))
            yield len(table), out.getvalue()
