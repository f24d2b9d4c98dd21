"""Open a checkpoint in any container, as plain values, records and descriptions of tensors.

    a pickle                      how the authors' code writes network snapshots
    a zip of torch.save           data.pkl, and a member for each storage
    an old file of torch.save     pickles in a row, then the storages
    safetensors                   read by its own library, which runs nothing

torch's own reader is not used: one gate (models/interop/pickle_world.py) watches all of them.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from models.interop.pickle_machine import read_pickle
from models.interop.pickle_values import Name, Refused, shown
from models.interop.pickle_world import pickle_world
from models.interop.stored_tensors import STORAGE_TYPES, Storage

ZIP_START = b"PK\x03\x04"
# The first two pickles of an old torch file.
TORCH_MAGIC, TORCH_VERSION = 0x1950A86A20F9469CFC6C, 1001
DEPTH_LIMIT = 3  # torch files inside pickles; a network snapshot has one level
STORAGES = "data"  # folder inside a zip of torch.save
# What Python's zipfile raises: encrypted members, places before the file's start, unknown versions.
_BAD_ZIP: tuple[type[Exception], ...] = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError)
_BAD_ZIP += (OSError, OverflowError, struct.error)


def read_checkpoint(path: Path, inert: Sequence[str] = ()) -> Any:
    """Return what the file holds; nothing in it is imported, called or run.

    Args:
        path: of the file.
        inert: patterns of more class names that are kept as records (`pickle_world`).

    Raises:
        Refused: the file names something that is not listed, or is no checkpoint.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise Refused("an empty file")
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = _Reader(inert)
    if view[:4] == ZIP_START:
        return reader.read_zip(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise Refused(f"bytes that are no safetensors ({error})") from error
    return reader.read_bytes(view)


class _Reader:
    """One file, whose pickles share a world and the number of operations they may take."""

    def __init__(self, inert: Sequence[str]) -> None:
        self._world = pickle_world(self._load_from_bytes, inert)
        self._depth = 0

    def read_bytes(self, data: bytes | mmap.mmap) -> Any:
        """Return the value of a pickle, or of an old torch file."""
        stream: Any = io.BytesIO(data) if isinstance(data, bytes) else data
        value = read_pickle(stream, self._world)
        if type(value) is not int or value != TORCH_MAGIC:
            return value
        version, system = (read_pickle(stream, self._world) for _ in range(2))
        if version != TORCH_VERSION or (type(system) is dict and not system.get("little_endian")):
            raise Refused(f"a torch file of version {shown(version)}, or of another byte order")
        storages: dict[str, Storage] = {}
        value = read_pickle(stream, replace(self._world, persistent=partial(_stored, storages)))
        keys = read_pickle(stream, self._world)
        if type(keys) is not list:
            raise Refused("a torch file without a list of its storages")
        _fill(storages, keys, memoryview(data), stream.tell())
        return value

    def _load_from_bytes(self, data: Any = None) -> Any:
        """Return a storage that stands as a torch file inside a pickle."""
        if type(data) is not bytes or self._depth >= DEPTH_LIMIT:
            raise Refused("torch.storage._load_from_bytes of something that is no torch file")
        self._depth += 1
        try:
            return self.read_bytes(data)
        finally:
            self._depth -= 1

    def read_zip(self, path: Path) -> Any:
        """Return the value of a zip that torch.save wrote."""
        try:
            archive = zipfile.ZipFile(path)
            members = {info.filename: info for info in archive.infolist()}
            _check_members(members, path.stat().st_size)
            (pickled,) = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
            folder = pickled.removesuffix("data.pkl")
            if archive.read(pickled)[:1] != b"\x80":
                raise Refused(f"a zip whose {pickled[:60]} is no pickle")
            order = f"{folder}byteorder"
            if order in members and archive.read(order).strip() != b"little":
                raise Refused("a torch file of another byte order")
            storages: dict[str, Storage] = {}
            world = replace(self._world, persistent=partial(_stored, storages))
            value = read_pickle(io.BytesIO(archive.read(pickled)), world)
        except _BAD_ZIP as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"a zip that torch.save did not write ({error})") from error
        for key, storage in storages.items():
            info = members.get(f"{folder}{STORAGES}/{key}")
            if info is not None:
                storage.fill(info.file_size, partial(_member, archive, info))
        return value


def _stored(storages: dict[str, Storage], key: Any) -> Any:
    """Return what a torch file's persistent id stands for."""
    if type(key) is tuple and len(key) >= 2 and key[0] == "module" and type(key[1]) is Name:
        return key[1]  # a class, with its source code behind it
    if type(key) is not tuple or len(key) not in (5, 6) or key[0] != "storage":
        raise Refused("a persistent id that is no storage")
    kind, name, count = key[1], key[2], key[4]
    if type(kind) is not Name or kind.text not in STORAGE_TYPES or type(name) is not str:
        raise Refused("a storage of unknown type")
    if len(key) == 6 and key[5] is not None:
        raise Refused("a view of a storage, which torch no longer writes")
    made = Storage(STORAGE_TYPES[kind.text], count)
    known = storages.setdefault(name, made)
    if (known.dtype, known.count) != (made.dtype, made.count):
        raise Refused("a storage of two types")
    return known


def _fill(storages: dict[str, Storage], keys: list[Any], data: memoryview, start: int) -> None:
    """Tell the storages of an old torch file where their bytes are: each behind its count."""
    for key in keys:
        if type(key) is not str or key not in storages:
            raise Refused("a torch file that lists a storage it does not use")
        count = int.from_bytes(data[start : start + 8], "little")
        begin, storage = start + 8, storages[key]
        if count != storage.count or begin + storage.num_bytes > len(data):
            raise Refused(f"a storage of {storage.num_bytes:,} bytes that the file does not hold")
        start = begin + storage.num_bytes
        storage.fill(storage.num_bytes, partial(_slice, data, begin, start))


def _check_members(members: dict[str, zipfile.ZipInfo], num_bytes: int) -> None:
    """Refuse what unpacks to more than the file holds; torch stores its members as they are."""
    packed = [name for name, x in members.items() if x.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise Refused(f"a zip with a compressed member {packed[0][:60]}")
    if sum(info.file_size for info in members.values()) > num_bytes:
        raise Refused("a zip whose members overlap")


def _slice(data: memoryview, begin: int, end: int) -> memoryview:
    return data[begin:end]


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except _BAD_ZIP as error:
        raise Refused(f"a damaged member of the zip ({error})") from error
