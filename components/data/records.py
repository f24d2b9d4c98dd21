"""One sample as found, and what its caption may be: a text, lines of text, a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.data.config import SourceConfig
from components.data.reasons import Reason

# Nothing is believed about the size of a file: what is larger is not read.
MOST_IMAGE_BYTES = 256 * 2**20
MOST_TEXT_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Record:
    """One input sample as found. reason is "" when image and caption are there; the image is not
    yet decoded.

    shard and offset say where the bytes of the image begin, for reading it again; of a row of a
    table that cannot be used they say the table and the line. captions are all usable ones, where
    the source asks for more than the first.
    """

    key: str
    shard: str
    offset: int
    image: bytes
    caption: str
    group: str = ""
    label: str = ""
    reason: str = ""
    captions: tuple[str, ...] = ()

    @property
    def is_looked_at(self) -> bool:
        """Whether the image is decoded: also one of no bytes, which has no other reason."""
        return not self.reason or (bool(self.image) and self.reason != Reason.ENTRY_HIDDEN)


def lost(key: str, shard: str, offset: int, reason: Reason) -> Record:
    """Return the record of what could not be read."""
    return Record(key, shard, offset, b"", "", reason=reason)


def missing_rows(shard: str, first: int, total: int) -> str:
    """Return the key of rows [first, total) of a table that could not be read, in one record."""
    return f"<{shard}:{first}-{total}>"


def num_missing(key: str) -> int | None:
    """Return how many rows a key of `missing_rows` stands for; None: a key that does not say."""
    found = re.search(r":(\d+)-(\d+)>$", key)
    return int(found[2]) - int(found[1]) if found else None


def caption_of(text: Any) -> tuple[str, str]:
    """Return a caption with its white space made plain, and a reason ("" = usable)."""
    if text is None:
        return "", Reason.SAMPLE_MISSING_CAPTION
    if not isinstance(text, str | bytes):
        return "", Reason.CAPTION_TYPE
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        text.encode("utf-8")  # a lone surrogate cannot be written again
    except UnicodeError:
        return "", Reason.CAPTION_ENCODING
    plain = " ".join(text.replace("\0", " ").split())
    return plain, "" if plain else Reason.CAPTION_EMPTY


def lines_of(content: bytes | None) -> list[Any]:
    """Return the captions that a text file holds: one for each line that is not blank."""
    if content is None:
        return []
    lines = [line for line in content.splitlines() if line.replace(b"\0", b"").strip()]
    return lines or [content]


def listed(value: Any) -> list[Any]:
    """Return the captions that a value of JSON or Parquet holds: a list's members, or itself."""
    return value if isinstance(value, list) and value else [value]


def of_columns(cells: Iterable[Any]) -> list[Any]:
    """Return the captions that the cells of several columns hold. Where one cell is blank and
    another is not, it is no caption; a blank cell alone is one that cannot be used.
    """
    each = [listed(cell) for cell in cells]
    said = [told for told in each if any(str(value or "").strip() for value in told)]
    return [value for told in said or each[:1] for value in told]


def subjects(record: Record, captions: Sequence[Any], config: SourceConfig) -> Iterator[Record]:
    """Yield the records of one image with what it shows, in words.

    That is its caption or captions, its class' name, or nothing, by what the source is conditioned
    on. A record that has a reason already comes through as it is.

    Args:
        record: image, class and group; its caption is still open.
        captions: what was found, usable or not.
        config: says which are taken: the first, all in one record, or each in its own.
    """
    if record.reason or config.condition == "none":
        told = (caption_of(value)[0] for value in captions if config.condition == "text")
        yield replace(record, caption=next(told, ""))
    elif config.condition == "label":
        missing = "" if record.label else Reason.SAMPLE_MISSING_LABEL
        yield replace(record, caption=record.label, reason=missing)
    else:
        yield from _captioned(record, captions or [None], config)


def _captioned(record: Record, captions: Sequence[Any], config: SourceConfig) -> Iterator[Record]:
    good: dict[str, int] = {}  # caption -> its place, from 1
    bad: list[tuple[int, str]] = []
    for place, value in enumerate(captions, 1):
        text, reason = caption_of(value)
        if reason:
            bad.append((place, reason))
        else:
            good.setdefault(text, place)
    if not good:
        yield replace(record, reason=bad[0][1])
        return
    texts = list(good)
    taken = texts if config.captions == "each" else texts[:1]
    for number, text in enumerate(taken):
        key, group = record.key, record.group
        if number:  # of the group of its image: never on the other side of the split
            key, group = f"{record.key}#{good[text]}", record.group or record.key
        more = tuple(texts) if config.captions == "random" and len(texts) > 1 else ()
        yield replace(record, key=key, group=group, caption=text, captions=more)
    for place, reason in bad:  # the image is used, this caption of it is not
        yield lost(f"{record.key}#{place}", record.shard, record.offset, Reason(reason))
