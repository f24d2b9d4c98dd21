"""Stream the samples of one WebDataset tar: one record for each key, readable or not.

The key of a member is its path up to the first dot of its file name; adjacent members with the same
key are one sample. A key that comes back later is a second record (the scorer marks it as a
duplicate), so that no half sample is ever taken for a whole one.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from components.data.config import SourceConfig
from components.data.reasons import Reason

# What counts as the sample's image; whether it can be read, its bytes decide.
IMAGE_EXTENSIONS = frozenset(
    ["png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "svg", "avif", "heic"]
)
_BLOCK = 512


@dataclass(frozen=True)
class Record:
    """One input sample as found. reason is "" when image and caption are there; the image is not
    yet decoded.

    shard and offset say where the bytes of the image begin, for reading it again.
    """

    key: str
    shard: str
    offset: int
    image: bytes
    caption: str
    group: str = ""
    label: str = ""
    reason: str = ""


@dataclass
class _Group:
    """Members of one key, as they come."""

    key: str
    offset: int
    members: dict[str, bytes] = field(default_factory=dict)
    image: bytes | None = None


def read_tar(folder: Path, shard: str, config: SourceConfig) -> Iterator[Record]:
    """Yield the records of one tar in stored order; a fault becomes a record with a reason."""
    with open(folder / shard, "rb") as file, ExitStack() as stack:
        try:
            tar = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
        except (tarfile.TarError, EOFError, ValueError):
            yield _lost(f"<{shard}>", shard, 0, Reason.SHARD_UNREADABLE)
            return
        yield from _records(tar, file, shard, config)


def caption_of(text: str | bytes | None) -> tuple[str, str]:
    """Return a caption with its white space made plain, and a reason ("" = usable)."""
    if text is None:
        return "", Reason.SAMPLE_MISSING_CAPTION
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        text.encode("utf-8")  # a lone surrogate cannot be written again
    except UnicodeError:
        return "", Reason.CAPTION_ENCODING
    plain = " ".join(text.replace("\0", " ").split())
    return plain, "" if plain else Reason.CAPTION_EMPTY


def subject_of(text: str | bytes | None, label: str, config: SourceConfig) -> tuple[str, str]:
    """Return what the image shows, in words, and a reason ("" = usable).

    That is the caption, the class' name, or nothing, by what the source is conditioned on.
    """
    if config.condition == "text":
        return caption_of(text)
    if config.condition == "label":
        return label, "" if label else Reason.SAMPLE_MISSING_LABEL
    return "", ""


def _records(
    tar: tarfile.TarFile, file: IO[bytes], shard: str, config: SourceConfig
) -> Iterator[Record]:
    group: _Group | None = None
    cut = False
    try:
        for member in tar:
            if member.isdir():
                continue
            if _is_unsafe(member):
                yield _lost(_plain(member.name), shard, member.offset, Reason.SHARD_UNSAFE_MEMBER)
                continue
            key, extension = _split_name(member.name)
            if group is None or key != group.key or extension in group.members:
                if group:
                    yield _close(group, shard, config)
                group = _Group(key, member.offset_data)
            if not _add(group, extension, member, file):
                cut = True
                break
    except (tarfile.TarError, EOFError, ValueError):
        cut = True
    cut = cut or not _has_end_mark(file, tar.offset)
    whole = group is not None and group.image is not None and len(group.members) > 1
    if group and (whole or not cut):
        yield _close(group, shard, config)
    if cut:
        # One row for whatever was lost: nobody can say how many samples that are.
        key = f"<{shard}>" if whole or group is None else group.key
        yield _lost(key, shard, tar.offset, Reason.SHARD_TRUNCATED)


def _add(group: _Group, extension: str, member: tarfile.TarInfo, file: IO[bytes]) -> bool:
    """Read a member into its group; False when the file ends before the member does."""
    file.seek(member.offset_data)
    content = file.read(member.size)
    if len(content) < member.size:
        return False
    group.members[extension] = content
    if extension in IMAGE_EXTENSIONS and group.image is None:
        group.image, group.offset = content, member.offset_data
    return True


def _lost(key: str, shard: str, offset: int, reason: Reason) -> Record:
    return Record(key, shard, offset, b"", "", reason=reason)


def _plain(name: str) -> str:
    """Return a member's name as text that can be written; bytes that are not UTF-8 become marks."""
    return name.encode("utf-8", "replace").decode()[:1000]


def _close(group: _Group, shard: str, config: SourceConfig) -> Record:
    """Turn the members of one key into its record."""
    facts, broken = _read_json(group.members.get("json"))
    text = group.members.get("txt", facts.get(config.caption_column))
    if text is not None and not isinstance(text, bytes):
        text = str(text)

    def fact(column: str) -> str:
        value = facts.get(column) if column else None
        return "" if value is None else caption_of(str(value))[0]

    label = config.label_of(fact)
    if config.condition == "label" and not config.label_columns:
        label = caption_of(group.members.get("cls"))[0]
    caption, reason = subject_of(text, label, config)
    if group.image is None:
        reason = Reason.SAMPLE_MISSING_IMAGE
    elif broken:
        reason = Reason.SAMPLE_BAD_JSON
    return Record(
        key=group.key,
        shard=shard,
        offset=group.offset,
        image=group.image or b"",
        caption=caption,
        group=fact(config.group_column),
        label=label if config.condition != "none" else "",
        reason=reason,
    )


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
    folder, slash, file = _plain(name).rpartition("/")
    stem, _, extension = file.partition(".")
    return (folder + slash + stem).removeprefix("./"), extension.lower()


def _is_unsafe(member: tarfile.TarInfo) -> bool:
    if not member.isreg() or member.issparse():
        return True
    path = PureWindowsPath(member.name)  # reads both kinds of slashes
    return bool(path.drive or path.root) or ".." in path.parts


def _has_end_mark(file: IO[bytes], offset: int) -> bool:
    """Tell whether the block of zeros that ends an archive stands where the last member ends.

    tarfile stops without a word at a header that is cut or broken.
    """
    # After the end mark tarfile's offset may already lie behind it.
    for at in (offset, max(0, offset - _BLOCK)):
        file.seek(at)
        block = file.read(_BLOCK)
        if block == bytes(_BLOCK):
            return True
    return False
