"""Stream the samples of one WebDataset tar: one record for each key, readable or not.

The key of a member is its path up to the first dot of its file name; adjacent members with the same
key are one sample. A key that comes back later is a second record (the scorer marks it as a
duplicate), so that no half sample is ever taken for a whole one. No size that a header tells is
believed, and only members that are asked for are read.
"""

from __future__ import annotations

import json
import tarfile
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PureWindowsPath
from typing import IO, Any, cast

from components.data.config import SourceConfig
from components.data.far_files import Folder, Unreachable
from components.data.file_tree import IMAGE_EXTENSIONS, is_regular, open_file, size_of
from components.data.names import is_hidden, restored, written
from components.data.reasons import Reason
from components.data.records import (
    MOST_IMAGE_BYTES,
    MOST_TEXT_BYTES,
    Record,
    caption_of,
    lines_of,
    lost,
    of_columns,
    subjects,
)

_BLOCK = 512
_NAME_CHARS = 1_000
_MOST_PADDING_MIB = 16  # zeros behind an archive that are looked through
# gzip, bzip2, xz, zstd, lz4: by their first bytes.
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")
# What tarfile raises on bytes that are no archive, or whose numbers nobody can seek to.
_FAULTS = (tarfile.TarError, EOFError, ValueError, OverflowError, OSError, RecursionError)


@dataclass
class _Group:
    """Members of one key, as they come; of those not asked for, the ending alone."""

    key: str
    offset: int
    members: dict[str, bytes] = field(default_factory=dict)
    image: bytes | None = None
    reason: str = ""


class _Bounded:
    """A file that is never asked for more than it has: a header's size is not to be believed, and
    the memory for it would be taken first.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._size = file, size_of(file)
        self.seek, self.tell, self.name = file.seek, file.tell, file.name

    def read(self, count: int) -> bytes:
        """Return at most so many bytes, less at the end."""
        return self._file.read(min(count, max(self._size - self._file.tell(), 0)))


def read_tar(folder: Folder, shard: str, config: SourceConfig) -> Iterator[Record]:
    """Yield the records of one tar in stored order; a fault becomes a record with a reason.

    Args:
        folder: of the source.
        shard: the tar's path in it, as `written` gives it.
        config: which members are image and caption.
    """
    path = folder / restored(shard)
    if not is_regular(path):
        yield lost(f"<{shard}>", shard, 0, Reason.SHARD_UNREADABLE)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_file(path))
            start = file.read(_BLOCK)
            if start.startswith(_PACKED):
                yield lost(f"<{shard}>", shard, 0, Reason.SHARD_COMPRESSED)
                return
            file.seek(0)
            tar = stack.enter_context(
                tarfile.open(fileobj=cast("IO[bytes]", _Bounded(file)), mode="r:")
            )
        except Unreachable:
            yield lost(f"<{shard}>", shard, 0, Reason.SHARD_UNREACHABLE)
            return
        except _FAULTS:
            yield lost(f"<{shard}>", shard, 0, Reason.SHARD_UNREADABLE)
            return
        yield from _records(tar, file, shard, config)


def endings(folder: Folder, shard: str, count: int = 64) -> list[str]:
    """Return what stands behind the first dot of the first members' names, each once, sorted.

    There are none where the tar cannot be read.
    """
    found: set[str] = set()
    path = folder / restored(shard)
    try:
        if is_regular(path):
            with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
                members = (member for member in tar if member.isreg())
                names = (m.name for m in islice(members, count) if not _is_hidden(m.name))
                found.update(_split_name(name)[1] for name in names)
    except (*_FAULTS, Unreachable):
        pass
    return sorted(found)


def _records(
    tar: tarfile.TarFile, file: IO[bytes], shard: str, config: SourceConfig
) -> Iterator[Record]:
    group: _Group | None = None
    cut, empty = False, True
    size = size_of(file)
    try:
        for member in tar:
            empty = False
            if member.isdir():
                continue
            name = written(member.name)[:_NAME_CHARS]
            if _is_hidden(member.name):
                yield lost(name, shard, member.offset, Reason.ENTRY_HIDDEN)
                continue
            if _is_unsafe(member):
                yield lost(name, shard, member.offset, Reason.SHARD_UNSAFE_MEMBER)
                continue
            key, ending = _split_name(member.name)
            if group is None or key != group.key or ending in group.members:
                if group:
                    yield from _close(group, shard, config)
                group = _Group(key, member.offset_data)
            if member.offset_data + member.size > size:
                cut = True
                break
            _add(group, ending, member, file, config)
    except Unreachable:
        yield lost(f"<{shard}>", shard, tar.offset, Reason.SHARD_UNREACHABLE)
        return
    except _FAULTS:
        cut = True
    try:
        cut = cut or not _has_end_mark(file, tar.offset)
        more = not cut and _has_more(file, tar.offset)
    except Unreachable:
        yield lost(f"<{shard}>", shard, tar.offset, Reason.SHARD_UNREACHABLE)
        return
    whole = group is not None and group.image is not None and len(group.members) > 1
    if group and (whole or not cut):
        yield from _close(group, shard, config)
    if cut:
        # One row for whatever was lost: nobody can say how many samples that are.
        key = f"<{shard}>" if whole or group is None else group.key
        yield lost(key, shard, tar.offset, Reason.SHARD_TRUNCATED)
    elif more:
        yield lost(f"<{shard}>", shard, tar.offset, Reason.SHARD_TRAILING_DATA)
    elif empty:
        yield lost(f"<{shard}>", shard, 0, Reason.SHARD_EMPTY)


def _add(
    group: _Group, ending: str, member: tarfile.TarInfo, file: IO[bytes], config: SourceConfig
) -> None:
    """Read a member into its group, if it is one that is asked for."""
    is_image = ending == config.image_member.lower() or (
        not config.image_member and ending in IMAGE_EXTENSIONS
    )
    group.members[ending] = b""
    file.seek(member.offset_data)
    if is_image and group.image is None:
        group.offset = member.offset_data
        if member.size > MOST_IMAGE_BYTES:
            group.reason = Reason.IMAGE_TOO_MANY_BYTES
        else:
            group.image = file.read(member.size)
    elif ending in (config.caption_member.lower(), "json", "cls"):
        group.members[ending] = file.read(min(member.size, MOST_TEXT_BYTES))


def _close(group: _Group, shard: str, config: SourceConfig) -> Iterator[Record]:
    """Yield the record of the members of one key, or several where each caption is a sample."""
    facts, broken = _read_json(group.members.get("json"))
    captions = lines_of(group.members.get(config.caption_member.lower()))
    if not captions:
        captions = of_columns(facts[name] for name in config.caption_columns if name in facts)

    def fact(column: str) -> str:
        value = facts.get(column) if column else None
        return "" if value is None else caption_of(str(value))[0]

    label = config.label_of(fact)
    if config.condition == "label" and not config.label_columns:
        label = caption_of(group.members.get("cls"))[0]
    reason = group.reason
    if group.image is None:
        reason = reason or Reason.SAMPLE_MISSING_IMAGE
    elif broken:
        reason = Reason.SAMPLE_BAD_JSON
    record = Record(
        key=group.key,
        shard=shard,
        offset=group.offset,
        image=group.image or b"",
        caption="",
        group=fact(config.group_column),
        label=label if config.condition != "none" else "",
        reason=reason,
    )
    yield from subjects(record, captions, config)


def _read_json(content: bytes | None) -> tuple[dict[str, Any], bool]:
    """Return the facts of a sample's .json and whether it is broken."""
    if content is None:
        return {}, False
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return {}, True
    return (facts, False) if isinstance(facts, dict) else ({}, True)


def _split_name(name: str) -> tuple[str, str]:
    # Composed letters: members of one sample may come from two systems.
    plain = written(name if name.isascii() else unicodedata.normalize("NFC", name))
    if len(plain) > _NAME_CHARS:
        plain = plain[:_NAME_CHARS]
    folder, slash, file = plain.rpartition("/")
    stem, _, ending = file.partition(".")
    return (folder + slash + stem).removeprefix("./"), ending.lower()


def _is_hidden(name: str) -> bool:
    """Tell whether a member is the system's, such as macOS' `._x.png`."""
    return any(is_hidden(part) for part in name.split("/") if part not in ("", ".", ".."))


def _is_unsafe(member: tarfile.TarInfo) -> bool:
    if not member.isreg() or member.issparse():
        return True
    name = member.name
    if not name.startswith("/") and not any(mark in name for mark in ("..", "\\", ":")):
        return False
    path = PureWindowsPath(name)  # reads both kinds of slashes
    return bool(path.drive or path.root) or ".." in path.parts


def _has_end_mark(file: IO[bytes], offset: int) -> bool:
    """Tell whether the block of zeros that ends an archive stands where the last member ends.

    tarfile stops without a word at a header that is cut or broken.
    """
    # After the end mark tarfile's offset may already lie behind it.
    for at in (offset, max(0, offset - _BLOCK)):
        try:
            file.seek(at)
        except (OverflowError, OSError, ValueError):
            return False
        block = file.read(_BLOCK)
        if block == bytes(_BLOCK):
            return True
    return False


def _has_more(file: IO[bytes], offset: int) -> bool:
    """Tell whether anything but zeros stands close behind the end mark."""
    file.seek(offset)
    return any(file.read(2**20).strip(b"\0") for _ in range(_MOST_PADDING_MIB))
