"""Files of a store, written, looked for and removed; or of a folder that a file:// address names.

Each call is tried as often as a read is (far_files.py). What comes back is an answer or one error.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from components.data.far_files import (
    CHECK,
    PIECE_BYTES,
    FarFacts,
    FarPath,
    Folder,
    again,
    far_bytes,
    open_far,
    opened,
)
from components.errors import DataError, StorageError


class NotThere(StorageError):
    """There is no such file in the store."""


def write_object(where: Folder, content: bytes | Path, *, known: bool = False) -> None:
    """Write a file of a store, whole or not at all.

    Args:
        where: it replaces what is there.
        content: the bytes, or a file that holds them.
        known: the name tells the content: a file of as many bytes is not written again.

    Raises:
        StorageError: the store does not take it.
    """
    size = content.stat().st_size if isinstance(content, Path) else len(content)
    with _told(where, "not taken"):
        if known and (found := _facts(where)) is not None and found.size == size:
            return
        if isinstance(where, Path):
            with _beside(where) as file:
                _pour(content, file)
            return
        system, path = opened(where)

        def put() -> None:
            with system.open_output_stream(path) as file:
                _pour(content, file)

        again(put)


def read_object(where: Folder) -> bytes:
    """Return the content of a small file.

    Raises:
        NotThere: there is none.
        StorageError: the store does not answer.
    """
    with _told(where, "not to be had"):
        if _facts(where) is None:
            raise NotThere("there is no such file in the store", str(where), CHECK)
        return far_bytes(where) if isinstance(where, FarPath) else where.read_bytes()


def fetch_object(where: Folder, target: Path) -> str:
    """Copy a file of a store to this machine, whole or not at all; return the sha256 of its bytes.

    Raises:
        NotThere: there is none.
        StorageError: the store does not answer, or this disk does not take it.
    """
    with _told(where, "not to be had"):
        if _facts(where) is None:
            raise NotThere("there is no such file in the store", str(where), CHECK)
        digest = hashlib.sha256()
        source = open_far(where) if isinstance(where, FarPath) else where.open("rb")
        with source, _beside(target) as file:
            while piece := source.read(PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
        return digest.hexdigest()


def facts_of(where: Folder) -> FarFacts | None:
    """Return size and time of a file of a store, None where there is none.

    Raises:
        StorageError: the store does not answer.
    """
    with _told(where, "not to be had"):
        return _facts(where)


def facts_in(place: Folder) -> dict[str, FarFacts]:
    """Return size and time of the files that lie directly in a place, by name; {} without one.

    Raises:
        StorageError: the store does not answer.
    """
    if isinstance(place, Path):
        with _told(place, "not to be had"):
            paths = sorted(place.iterdir()) if place.is_dir() else []
            found = {path.name: _facts(path) for path in paths if path.is_file()}
            return {name: facts for name, facts in found.items() if facts is not None}
    listed = _listed(place).items()
    return {name: _far_facts(info) for name, info in listed if info.is_file}


def names_in(place: Folder) -> list[str]:
    """Return the names of the files that lie directly in a place, sorted; errors as above."""
    return sorted(facts_in(place))


def folders_in(place: Folder) -> list[str]:
    """Return the names of the folders that lie directly in a place, sorted; errors as above."""
    if isinstance(place, Path):
        with _told(place, "not to be had"):
            paths = place.iterdir() if place.is_dir() else ()
            return sorted(path.name for path in paths if path.is_dir())
    return sorted(name for name, info in _listed(place).items() if not info.is_file)


def remove_object(where: Folder) -> None:
    """Remove a file of a store; one that is not there is no error.

    Raises:
        StorageError: the store does not answer, or keeps it.
    """
    with _told(where, "not removed"):
        if isinstance(where, Path):
            where.unlink(missing_ok=True)
            return
        system, path = opened(where)

        def remove() -> None:
            try:
                system.delete_file(path)
            except OSError:
                # pyarrow leaves an empty object for the folder, which some stores do not take.
                if _facts(where) is not None:
                    raise

        again(remove)


def _facts(where: Folder) -> FarFacts | None:
    if isinstance(where, Path):
        with suppress(FileNotFoundError):
            found = where.stat()
            return FarFacts(found.st_size, found.st_mtime_ns)
        return None
    from pyarrow import fs

    system, path = opened(where)
    info = again(lambda: system.get_file_info(path))
    return _far_facts(info) if info.type == fs.FileType.File else None


def _far_facts(info: Any) -> FarFacts:
    return FarFacts(int(info.size or 0), int(info.mtime_ns or 0))


def _listed(place: FarPath) -> dict[str, Any]:
    """Return what lies directly in a place of a store, by name: pyarrow's FileInfo."""
    from pyarrow import fs

    with _told(place, "not to be had"):
        system, path = opened(place)
        selector = fs.FileSelector(path, allow_not_found=True)
        listed = again(lambda: system.get_file_info(selector))
        return {one.base_name: one for one in sorted(listed, key=lambda one: one.path)}


def _pour(content: bytes | Path, file: Any) -> None:
    if isinstance(content, bytes):
        file.write(content)
        return
    with content.open("rb") as source:
        while piece := source.read(PIECE_BYTES):
            file.write(piece)


@contextmanager
def _beside(target: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the target's place when the block ends well, and is gone if not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{os.getpid()}-{threading.get_ident()}"
    temporary = target.with_name(f"{target.name}.{mark}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _told(where: Folder, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, DataError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # of this disk, and not of the store
        text = error.what if isinstance(error, DataError) else " ".join(str(error).split())
        raise StorageError(f"{what}: {text[:240]}", str(where), CHECK) from None
