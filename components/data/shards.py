"""Shard files (WebDataset tars and Parquet) that are whole and the same to the byte.

Equal content gives equal bytes; no half file is ever seen.

Each file is written beside its place and renamed; the manifest, written last, marks the folder as
complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.data.parquet_files import MAX_GROUP_ROWS, check_columns, write_table
from components.errors import DataError

_AGAIN = "run the stage that wrote it again"


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write a WebDataset shard: each sample is (key, {extension: content}).

    Raises:
        ValueError: a key holds a dot; readers take the first dot as the end of the key.
    """
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for key, members in samples:
                if "." in key:
                    raise ValueError(f"a key must not hold a dot: {key!r}")
                for extension, content in members.items():
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(content)  # owner, group and times stay 0
                    tar.addfile(info, io.BytesIO(content))
        _sync(file)
    os.replace(temporary, path)


class ShardWriter:
    """Collect rows and write them as `<prefix>-00000.parquet`, ... in the order given.

    Args:
        folder: created if missing; shards of this prefix from an earlier run are removed.
        prefix: first part of the file names.
        schema: one field per key of a row.
        shard_rows: rows per file.
        group_rows: rows per row group: what a reader loads at once.
        resumes: whole shards of this prefix that are there count as written; `shards` lists them.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        schema: pa.Schema,
        shard_rows: int,
        group_rows: int = MAX_GROUP_ROWS,
        resumes: bool = False,
    ) -> None:
        self.folder, self.prefix, self.schema = folder, prefix, schema
        self.shard_rows, self.group_rows = shard_rows, group_rows
        self.shards: list[dict[str, Any]] = []
        self._rows: list[Mapping[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        while resumes and self._take_next():
            pass
        taken = {shard["file"] for shard in self.shards}
        for stale in folder.glob(f"{prefix}-*.parquet*"):
            if stale.name not in taken:
                stale.unlink()

    def _take_next(self) -> bool:
        """Count the next shard as written if it is there, whole and full."""
        path = self.folder / f"{self.prefix}-{len(self.shards):05d}.parquet"
        try:
            with pq.ParquetFile(path) as file:
                whole = file.metadata.num_rows == self.shard_rows
                whole = whole and file.schema_arrow.equals(self.schema)
        except (OSError, pa.ArrowException):
            return False
        if whole:
            entry = {"file": path.name, "rows": self.shard_rows, "sha256": file_sha256(path)}
            self.shards.append(entry)
        return whole

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self._rows.append(row)
        if len(self._rows) == self.shard_rows:
            self.write_shard(pa.Table.from_pylist(self._rows, schema=self.schema))
            self._rows = []

    def write_shard(self, table: pa.Table) -> None:
        """Write a table as the next file, whatever its length."""
        path = self.folder / f"{self.prefix}-{len(self.shards):05d}.parquet"
        write_table(path, table.cast(self.schema), self.group_rows)
        entry = {"file": path.name, "rows": table.num_rows, "sha256": file_sha256(path)}
        self.shards.append(entry)

    def close(self) -> dict[str, Any]:
        """Write the rest, at least one shard; return {rows, shards: [{file, rows, sha256}]}."""
        if self._rows or not self.shards:
            self.write_shard(pa.Table.from_pylist(self._rows, schema=self.schema))
            self._rows = []
        return {"rows": sum(s["rows"] for s in self.shards), "shards": self.shards}


def move_shards(work: Path, out: Path, prefixes: Sequence[str]) -> None:
    """Move all shards of these prefixes to `out`, and remove what stands there from before."""
    out.mkdir(parents=True, exist_ok=True)
    for prefix in prefixes:
        for stale in out.glob(f"{prefix}-*.parquet*"):
            stale.unlink()
        for path in sorted(work.glob(f"{prefix}-*.parquet")):
            shutil.move(path, out / path.name)


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> str:
    """Write manifest.json with `facts` and their content_hash; return the hash."""
    content_hash = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    write_json(folder / "manifest.json", {**facts, "content_hash": content_hash})
    return content_hash


def read_manifest(folder: Path, stage: str = "filter") -> dict[str, Any]:
    """Read manifest.json and check it against its own hash, if it holds one.

    Raises:
        DataError: it is missing, not JSON, or changed since `stage` wrote it.
    """
    path, todo = folder / "manifest.json", f"run the {stage} stage again"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"no readable manifest: {error}", str(path), todo) from None
    if not isinstance(manifest, dict):
        raise DataError("the manifest is no JSON object", str(path), todo)
    facts = {name: value for name, value in manifest.items() if name != "content_hash"}
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    if manifest.get("content_hash", found) != found:
        raise DataError("the manifest has changed since it was written", str(path), todo)
    return manifest


def rows_per_group(resolution: int) -> int:
    """Return the rows of a row group, what a reader loads at once: 128, fewer for large images."""
    return max(16, min(128, 2**21 // resolution**2))


def checked_shards(folder: Path, prefix: str, schema: pa.Schema) -> list[Path]:
    """Return all shards of a prefix, in order, each checked against manifest.json.

    Raises:
        DataError: there are none; one is not the file that the manifest names, or lacks a column
            of the schema, or holds another type.
    """
    manifest = read_manifest(folder, prefix.removesuffix("s"))
    listed = manifest.get("shards")
    try:
        wanted = {str(shard["file"]): str(shard["sha256"]) for shard in listed or []}
    except (TypeError, KeyError):
        wanted = {}
    paths = sorted(folder.glob(f"{prefix}-*.parquet"))
    if not wanted or set(wanted) != {path.name for path in paths}:
        what = f"{len(paths)} files {prefix}-*.parquet, {len(wanted)} in the manifest"
        raise DataError(what, str(folder), "run the stage that writes it again")
    for path in paths:
        check_shard(path, wanted[path.name])
        check_columns(path, schema)
    return paths


def check_shard(path: Path, sha256: str) -> None:
    """Compare a shard with the hash that the manifest names.

    Raises:
        DataError: it is missing, unreadable or another file.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise DataError(f"unreadable shard: {error.strerror}", str(path), _AGAIN) from None
    if found != sha256:
        what = f"the shard is damaged: its sha256 begins {found[:12]}, the manifest's {sha256[:12]}"
        raise DataError(what, str(path), _AGAIN)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
