"""Read a folder of images: with a table, a text file beside each image, or class folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from components.data.config import SourceConfig
from components.data.far_files import Folder, Unreachable, is_far
from components.data.file_tree import (
    IMAGE_EXTENSIONS,
    Tree,
    extension,
    images_of,
    look,
    read_regular,
)
from components.data.names import plain_form, shown, written
from components.data.reasons import Reason
from components.data.records import (
    MOST_IMAGE_BYTES,
    MOST_TEXT_BYTES,
    Record,
    lines_of,
    lost,
    of_columns,
    subjects,
)
from components.data.tables import Line, Table, read_table
from components.errors import DataError

SIDECARS = "*.txt"  # as source.captions_file: a text file beside each image
TABLES = (
    *("captions.tsv", "captions.csv", "captions.jsonl", "captions.txt", "captions.json"),
    *("metadata.jsonl", "metadata.csv", "metadata.tsv"),
)


@dataclass(frozen=True)
class Entry:
    """One image of a folder and what the table says of it.

    Attributes:
        file: path relative to the folder, as it is on disk.
        captions: as found; None: the table does not name the image, or there is no table.
        group, label: of the table.
        reason: why it cannot be used, "" = nothing known.
        place: the table and line of a row that cannot be used.
    """

    file: str
    captions: tuple[Any, ...] | None = None
    group: str = ""
    label: str = ""
    reason: str = ""
    place: tuple[str, int] = ("", 0)


@dataclass(frozen=True)
class Listing:
    """All entries of a folder in their fixed order, and whether texts lie beside the images."""

    entries: list[Entry]
    sidecars: bool


@lru_cache(maxsize=4)
def listing(folder: Folder, config: SourceConfig) -> Listing:
    """Return the table's rows, then the images that it does not name, sorted.

    Raises:
        DataError: there is no table where one is needed, or more than one.
    """
    tree = look(folder)
    images = list(images_of(folder, tree))
    name = table_of(folder, tree, images, config)
    sidecars = name == SIDECARS
    rows = [] if sidecars or not name else _rows(folder, name, tree, config)
    used = {row.file for row in rows}
    rows += [Entry(file) for file in images if file not in used]
    odd = {p: r for p, r in tree.odd.items() if p.endswith("/") or extension(p) in IMAGE_EXTENSIONS}
    rows += [Entry(path, reason=reason) for path, reason in sorted(odd.items()) if path not in used]
    rows += [Entry(path, reason=Reason.ENTRY_HIDDEN) for path in tree.hidden]
    _check_classes(folder, images, config)
    return Listing(rows, sidecars and config.condition == "text")


def read_entries(folder: Folder, config: SourceConfig, start: int, stop: int) -> Iterator[Record]:
    """Yield the records of entries [start, stop)."""
    found = listing(folder, config)
    for row in found.entries[start:stop]:
        yield from _records(folder, row, config, found.sidecars)


def table_of(folder: Folder, tree: Tree, images: Sequence[str], config: SourceConfig) -> str:
    """Return the table's path in the folder, SIDECARS, or "" where none is needed.

    Raises:
        DataError: there is none, or more than one could be meant.
    """
    if not (config.condition == "text" or config.label_columns or config.group_column):
        return ""
    if config.captions_file:
        return config.captions_file
    found = [f for f in tree.files if f.lower() in TABLES or _is_table(f)]
    beside = _sidecars(tree, images)
    if beside and config.condition == "text":
        found.append(SIDECARS)
    if len(found) == 1:
        return found[0]
    where = shown(str(folder), 200)
    if found:
        names = ", ".join(shown(name) for name in found[:5])
        raise DataError(f"more than one could hold the captions: {names}", where, _WHICH)
    if not images:
        raise DataError("no image in it", where, "set source.path or source.kind")
    what = f"{len(images):,} images, but no captions.tsv and no other table of captions"
    raise DataError(what, where, _WHICH + ", or source.condition: label for class folders")


_WHICH = f"set source.captions_file to the table ({SIDECARS!r}: a text file beside each image)"


def _is_table(file: str) -> bool:
    """Tell whether a file below the top is a table by its name: metadata.jsonl, COCO's captions."""
    name = file.rpartition("/")[2].lower()
    if name.endswith(".json"):
        return "caption" in name and file.lower() not in TABLES
    return "/" in file and name in TABLES and name.startswith("metadata.")


def _sidecars(tree: Tree, images: Sequence[str]) -> bool:
    texts = {file[:-4] for file in tree.files if file.endswith(".txt")}
    return any(file.rpartition(".")[0] in texts for file in images)


def _rows(folder: Folder, name: str, tree: Tree, config: SourceConfig) -> list[Entry]:
    table = read_table(folder / name, config)
    finder = _Finder(folder, name, tree)
    rows: dict[str, Entry] = {}  # in the order of the table
    for line in table.lines:
        row = _entry(line, table, finder, written(name), config)
        before = rows.get(row.file)
        if before is None:
            rows[row.file] = row
        elif row.captions is not None and row.reason == before.reason:
            # Several rows of one picture are several captions of it.
            captions = (*(before.captions or ()), *row.captions)
            rows[row.file] = replace(before, captions=captions)
        else:  # one of the two cannot be used: it is counted under its line
            good, bad = (row, before) if before.reason else (before, row)
            at = f"<{bad.place[0]}:{bad.place[1]}>"
            rows |= {row.file: good, at: replace(bad, file=at)}
    return list(rows.values())


def _entry(line: Line, table: Table, finder: _Finder, name: str, config: SourceConfig) -> Entry:
    def cell(column: str) -> str:
        value = line.cells.get(column) if column else None
        return "" if value is None else " ".join(str(value).split())

    told = line.cells.get(table.file_column)
    place = (name, line.number)
    if not isinstance(told, str) or not told.strip():
        return Entry(f"<{name}:{line.number}>", reason=Reason.SAMPLE_BAD_ROW, place=place)
    file, reason = finder.find(told)
    if not line.whole:
        return Entry(file, reason=Reason.SAMPLE_BAD_ROW, place=place)
    captions = None
    if config.condition == "text":
        captions = tuple(of_columns(line.cells.get(name) for name in table.caption_columns))
    return Entry(file, captions, cell(config.group_column), config.label_of(cell), reason, place)


class _Finder:
    """Find the file that a table means: by its name, in any spelling of it that means one file."""

    def __init__(self, folder: Folder, table: str, tree: Tree) -> None:
        self.files = set(tree.files)
        # An absolute path in a table means nothing in a store.
        self.root = "" if is_far(folder) else os.path.abspath(str(folder))
        self.beside = PurePosixPath(table).parent
        self.plain: dict[str, list[str]] = {}
        self.bare: dict[str, list[str]] = {}
        for file in tree.files:
            form = plain_form(file)
            self.plain.setdefault(form, []).append(file)
            self.bare.setdefault(form.rpartition("/")[2], []).append(file)

    def find(self, told: str) -> tuple[str, str]:
        """Return the file, or the name as told with a reason."""
        if told in self.files:
            return told, ""
        name = plain_form(told)
        if os.path.isabs(told):
            inside = os.path.relpath(os.path.abspath(told), self.root or None)
            if inside.startswith("..") or not self.root:
                return told, Reason.SHARD_UNSAFE_MEMBER
            name = plain_form(inside)
        if ".." in name.split("/") or name[1:2] == ":":
            return told, Reason.SHARD_UNSAFE_MEMBER
        found = self.plain.get(name, []) or self.plain.get(f"{self.beside}/{name}", [])
        if not found and "/" not in name:
            found = self.bare.get(name, [])
        return (found[0], "") if len(found) == 1 else (told, Reason.SAMPLE_MISSING_IMAGE)


def _check_classes(folder: Folder, images: Sequence[str], config: SourceConfig) -> None:
    """Refuse two class folders of one name in different places, unless the source says which."""
    if config.condition != "label" or config.label_columns or config.class_folders != "auto":
        return
    places: dict[str, str] = {}
    for file in images:
        place = PurePosixPath(file).parent
        first = places.setdefault(place.name, str(place))
        if first != str(place):
            what = f"two folders of one class name: {shown(first)} and {shown(str(place))}"
            todo = "set source.class_folders to path (two classes) or name (one class)"
            raise DataError(what, shown(str(folder), 200), todo)


def _label_of(row: Entry, config: SourceConfig) -> str:
    if config.condition == "none":
        return ""
    if config.condition == "label" and not config.label_columns:
        place = PurePosixPath(row.file).parent
        found = place.as_posix() if config.class_folders == "path" else place.name
        return "" if found == "." else written(found)
    return row.label


def _records(folder: Folder, row: Entry, config: SourceConfig, sidecars: bool) -> Iterator[Record]:
    key, (table, line) = written(row.file), row.place
    if row.reason:
        shard = table if row.reason == Reason.SAMPLE_BAD_ROW else ""
        yield lost(key, shard, line if shard else 0, Reason(row.reason))
        return
    try:
        image = read_regular(folder / row.file, MOST_IMAGE_BYTES)
    except Unreachable:
        yield lost(key, key, 0, Reason.SHARD_UNREACHABLE)
        return
    except (OSError, ValueError):
        yield lost(key, key, 0, Reason.SAMPLE_NOT_A_FILE)
        return
    captions: Sequence[Any] = row.captions or ()
    if sidecars:
        captions = lines_of(_beside(folder, row.file))
    reason = Reason.IMAGE_TOO_MANY_BYTES if image is None else ""
    record = Record(key, key, 0, image or b"", "", row.group, _label_of(row, config), reason)
    yield from subjects(record, captions, config)


def _beside(folder: Folder, file: str) -> bytes | None:
    try:
        return read_regular(folder / f"{file.rpartition('.')[0]}.txt", MOST_TEXT_BYTES)
    except OSError:
        return None
