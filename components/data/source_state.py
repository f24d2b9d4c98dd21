"""What a source holds, as one hash: whether anything in it changed since it was looked at last.

Of files here the content counts, so that a copy of them is the same source; a file is read again
only when its size or time changed. Of a store's files, name, size and time count: nothing is read.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

from components.data.far_files import FarPath
from components.data.file_tree import look, no_folder, state_of
from components.data.names import written
from components.data.origins import Origin


def state_of_source(origin: Origin, memory: Path) -> dict[str, Any]:
    """Return {name, path, files, bytes, sha256} of a source.

    Args:
        origin: the source.
        memory: SQLite file of the hashes that are known; written anew where it is broken.

    Raises:
        DataError: there is no such folder.
    """
    folder = origin.folder
    if isinstance(folder, Path) and not folder.is_dir():
        raise no_folder(folder, "set source.path to your data")
    tree, total = look(folder), hashlib.sha256()
    num_bytes = 0
    with _Known(memory) as known:
        for name in tree.files:
            size, mtime_ns = state_of(folder, name)
            mark = f"{mtime_ns}" if isinstance(folder, FarPath) else known.sha256(folder, name)
            total.update(f"{written(name)}\0{size}\0{mark}\n".encode())
            num_bytes += max(size, 0)
    for name in [*tree.odd, *tree.hidden]:
        total.update(f"{written(name)}\n".encode())
    facts = {"name": origin.name, "path": str(folder), "files": len(tree.files)}
    return facts | {"bytes": num_bytes, "sha256": total.hexdigest()}


class _Known:
    """Hashes of files that were read before, by path, size and time."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def __enter__(self) -> _Known:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError:
            self._memory.unlink(missing_ok=True)
            self._open()
        return self

    def _open(self) -> None:
        self._data = sqlite3.connect(self._memory, timeout=60)
        kinds = "path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT"
        self._data.execute(f"CREATE TABLE IF NOT EXISTS files ({kinds})")

    def sha256(self, folder: Path, name: str) -> str:
        """Return the hash of a file's content, "" where it cannot be read."""
        path = written(str(folder.resolve() / name))
        state = state_of(folder, name)
        query = "SELECT size, mtime_ns, sha256 FROM files WHERE path = ?"
        row = self._data.execute(query, (path,)).fetchone()
        if row is not None and row[:2] == state:
            return str(row[2])
        try:
            with open(folder / name, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
        if state_of(folder, name) == state:
            new = (path, *state, found)
            self._data.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", new)
        return found

    def __exit__(self, *_: object) -> None:
        self._data.commit()
        self._data.close()
