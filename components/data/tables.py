"""Read a table of captions as people write them: CSV, TSV, JSON lines, COCO's JSON.

What a line says is either whole or refused with its number: a comma too many never cuts a caption.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components.data.config import SourceConfig
from components.data.far_files import Folder
from components.data.names import shown
from components.errors import DataError

SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
# Read where the column of the default name is absent and one of these alone is there.
FILE_COLUMNS = ("file_name", "filename", "image", "path", "image_path", "filepath", "img")
CAPTION_COLUMNS = ("text", "title", "prompt", "description", "comment")
_LARGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
        number: of the line in the file where the row begins, from 1.
        cells: column -> text; a caption of JSON may also be a list.
        whole: False when the row has another number of cells than the header, or is no JSON.
    """

    number: int
    cells: dict[str, Any]
    whole: bool = True


@dataclass(frozen=True)
class Table:
    """A table's rows and the names under which it keeps files and captions."""

    lines: list[Line]
    columns: tuple[str, ...]
    file_column: str
    caption_columns: tuple[str, ...]


def read_table(path: Folder, config: SourceConfig) -> Table:
    """Read a table.

    Raises:
        DataError: it cannot be read, or its separator, encoding or columns are not those set.
    """
    if path.suffix.lower() == ".jsonl":
        lines = [_json_line(number, text) for number, text in enumerate(_lines(path, config), 1)]
        columns = tuple(dict.fromkeys(name for line in lines for name in line.cells))
        lines = [line for line in lines if line.cells or not line.whole]
        return _with_columns(path, config, lines, columns)
    if path.suffix.lower() == ".json":
        return _json_table(path, config)
    text = _text(path, config)
    separator, columns = _separator(path, config, text)
    return _with_columns(path, config, list(_rows(path, text, separator, columns)), columns)


def _text(path: Folder, config: SourceConfig) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"no readable table: {error.strerror or error}"
        raise DataError(what, shown(str(path), 200), "set source.captions_file") from None
    try:
        # Bytes that are not UTF-8 come through as surrogates and are refused per row.
        loose = config.encoding == "auto"
        encoding = _encoding(data) if loose else config.encoding
        return data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "strict")
    except (UnicodeError, LookupError) as error:
        what = f"not text in {config.encoding}: {error}"
        raise DataError(
            what, shown(str(path), 200), "set source.encoding, such as latin-1"
        ) from None


def _encoding(data: bytes) -> str:
    """Return UTF-16 where the bytes show it, else UTF-8."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    some = data[:4_000]
    for name, zeros in (("utf-16-le", some[1::2]), ("utf-16-be", some[0::2])):
        if len(some) > 4 and zeros.count(0) > 0.6 * len(zeros):
            return name
    return "utf-8-sig"


def _lines(path: Folder, config: SourceConfig) -> list[str]:
    return _text(path, config).split("\n")


def _json_line(number: int, text: str) -> Line:
    if not text.strip():
        return Line(number, {})
    try:
        cells = json.loads(text)
    except (ValueError, RecursionError):
        return Line(number, {}, whole=False)
    return Line(number, cells) if isinstance(cells, dict) else Line(number, {}, whole=False)


def _separator(path: Folder, config: SourceConfig, text: str) -> tuple[str, tuple[str, ...]]:
    """Return the separator, and the columns of the header line."""
    header = next(iter(text[:1_000_000].splitlines()), "")
    if config.separator != "auto":
        separator = SEPARATORS[config.separator]
        return separator, _header(header, separator)
    found = {name: _header(header, sign) for name, sign in SEPARATORS.items()}
    known = [name for name, columns in found.items() if not _missing(config, columns)]
    usual = "comma" if path.suffix.lower() == ".csv" else "tab"
    if usual in known or not known:
        # Nothing fits: the most columns make the better message.
        best = usual if usual in known else max(found, key=lambda name: len(found[name]))
        return SEPARATORS[best], found[best]
    if len(known) > 1:
        what = f"the header reads with {' and with '.join(known)} between the columns"
        raise DataError(what, shown(str(path), 200), "set source.separator")
    return SEPARATORS[known[0]], found[known[0]]


def _header(line: str, separator: str) -> tuple[str, ...]:
    cells = next(csv.reader([line], _dialect(separator)), [])
    return tuple(cell.strip() for cell in cells)


def _dialect(separator: str, strict: bool = False) -> type[csv.Dialect]:
    """Return how a line is cut. With tabs there is no quoting: a quote sign is just that."""

    class Cut(csv.excel):
        delimiter = separator
        quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL

    Cut.strict = strict
    return Cut


def _rows(path: Folder, text: str, separator: str, columns: Sequence[str]) -> Iterator[Line]:
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), _dialect(separator, strict=True))
    number, width = 1, len(columns)
    try:
        for cells in reader:
            if number > 1 and any(cell.strip() for cell in cells):
                while len(cells) > width and not cells[-1].strip():
                    cells.pop()
                if reader.line_num > number and _swallowed(cells, separator, width):
                    raise csv.Error("whole rows stand inside the quotes")
                yield Line(number, dict(zip(columns, cells, strict=False)), len(cells) == width)
            number = reader.line_num + 1
    except csv.Error as error:
        what = f"line {number}: a quoted cell does not end where it should"
        todo = "close the quote in that line, or double the quotes inside a quoted caption"
        raise DataError(f"{what} ({error})", shown(str(path), 200), todo) from None


def _swallowed(cells: Sequence[str], separator: str, width: int) -> bool:
    """Tell whether a cell of several lines holds a line that itself has every column."""
    if width < 2:
        return False
    inside = [line for cell in cells for line in cell.splitlines()[1:]]
    named = [
        line.split(separator)[0].strip() for line in inside if line.count(separator) + 1 >= width
    ]
    return any("." in name and " " not in name for name in named)


def _json_table(path: Folder, config: SourceConfig) -> Table:
    """Read COCO's captions (images by id, any number of captions for each), or a list of rows."""
    try:
        found = json.loads(_text(path, config))
        if isinstance(found, list):
            rows = [Line(i, cells) for i, cells in enumerate(found, 1) if isinstance(cells, dict)]
            columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
            return _with_columns(path, config, rows, columns)
        names = {image["id"]: image["file_name"] for image in found["images"]}
        said = [(names[one["image_id"]], one["caption"]) for one in found["annotations"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"no {error} in it" if isinstance(error, KeyError) else str(error)
        what = f"not COCO's captions, {{images: [...], annotations: [...]}}: {told}"
        raise DataError(what[:200], shown(str(path), 200), "set source.captions_file") from None
    lines = [Line(i, {"file": name, "caption": text}) for i, (name, text) in enumerate(said, 1)]
    return Table(lines, ("file", "caption"), "file", ("caption",))


def _missing(config: SourceConfig, columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return (field of source, name) of every wanted column that is not there."""
    wanted = [("file_column", column_called(config.file_column, "file", FILE_COLUMNS, columns))]
    wanted += [("group_column", config.group_column)]
    wanted += [("label_column", name) for name in config.label_columns]
    if config.condition == "text":
        wanted += [("caption_column", name) for name in captions_among(columns, config)]
    return [(field, name) for field, name in wanted if name and name not in columns]


def captions_among(columns: Sequence[str], config: SourceConfig) -> tuple[str, ...]:
    """Return the names of the columns of captions, as they are called there."""
    wanted = config.caption_columns
    return tuple(column_called(name, "caption", CAPTION_COLUMNS, columns) for name in wanted)


def column_called(name: str, usual: str, others: Sequence[str], columns: Sequence[str]) -> str:
    """Return a column's name; for the default name that is absent, the one known other name."""
    found = [other for other in others if other in columns]
    return found[0] if name == usual and name not in columns and len(found) == 1 else name


def _with_columns(
    path: Folder, config: SourceConfig, lines: list[Line], columns: tuple[str, ...]
) -> Table:
    for field, name in _missing(config, columns):
        known = ", ".join(shown(column) for column in columns[:12]) or "none"
        todo = f"set source.{field}"
        if len(columns) < 2:
            todo += f", or source.separator ({', '.join(SEPARATORS)}) and source.encoding"
        raise DataError(f"no column {name!r}; it has {known}", shown(str(path), 200), todo)
    file = column_called(config.file_column, "file", FILE_COLUMNS, columns)
    return Table(lines, columns, file, captions_among(columns, config))
