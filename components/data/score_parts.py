"""Score a source part by part and put the parts together; a kill loses the part at hand alone.

Each part's rows are written when they come, in whatever order that is. A part that is there
already, of the same source, networks and code, is taken as it is. What stands in the result depends
on none of that. Legend: N rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.code_version import git_commit
from components.data.config import ScoreConfig
from components.data.file_tree import state_of
from components.data.image_folder import listing
from components.data.names import restored
from components.data.origins import Origin, origin_at, parts_of
from components.data.parquet_files import write_table
from components.data.reasons import Reason
from components.data.records import num_missing
from components.data.scorers.base import EmbeddingNet
from components.data.scoring import Row, Scorer, score_schema
from components.data.shards import ShardWriter, write_json
from components.data.sources import Part, settled
from components.errors import DataError

SCORE_SHARD_ROWS = 100_000
_SIGNATURE = b"ganline.part"
_NAMED = 3  # hidden entries that are named

# (items, worker class, constructor arguments) -> (number of the item, its rows).
MapParts = Callable[[Iterable[Row], type, Row], Iterable[tuple[int, list[Row]]]]


def score_source(
    origins: Sequence[Origin],
    encoders: Path,
    config: ScoreConfig,
    work: Path,
    out: Path,
    map_parts: MapParts | None = None,
    net: EmbeddingNet | None = None,
) -> dict[str, Any]:
    """Write out/scores-*.parquet, one row for every sample in stored order, and the manifest.

    Args:
        origins: the sources.
        encoders: folder that holds `clip`.
        config: batch, and which columns are written.
        work: folder of the parts; it may hold those of an earlier try.
        out: folder of the scores.
        map_parts: None = a plain loop here.
        net: stands in for CLIP, in tests.

    Returns:
        {rows, shards, reasons, hidden: {entries, such_as}, resumed}: counts by reason; what was
        left out because it is no data; parts taken from an earlier try. Where a store did not give
        some, unreachable: {parts, rows, unknown}: their rows as far as known, and of how many not.
    """
    found = parts_of(origins)
    marks = _signatures(origins, encoders, config, found)
    schema = score_schema(config)
    work.mkdir(parents=True, exist_ok=True)
    files = [work / f"part-{number:06d}.parquet" for number in range(len(found))]
    todo = [i for i, file in enumerate(files) if _signature_of(file) != marks[i]]
    build: Row = {"origins": [origin.plain() for origin in origins]}
    build |= {"encoders": str(encoders.resolve()), "score": asdict(config), "net": net}
    for place, rows in _mapped([asdict(found[i]) for i in todo], build, map_parts):
        table = pa.Table.from_pylist(rows, schema=schema)
        number = todo[place]
        # What a store did not give may be there the next time.
        missing = any(row["reason"] == Reason.SHARD_UNREACHABLE for row in rows)
        mark = b"" if missing else marks[number]
        write_table(files[number], table.replace_schema_metadata({_SIGNATURE: mark}))
    facts = _put_together(files, out, schema)
    return facts | {"resumed": len(found) - len(todo)}


def _mapped(
    items: list[Row], build: Row, map_parts: MapParts | None
) -> Iterable[tuple[int, list[Row]]]:
    if not items:
        return []
    return _in_a_loop(items, build) if map_parts is None else map_parts(items, Scorer, build)


def _in_a_loop(items: list[Row], build: Row) -> Iterator[tuple[int, list[Row]]]:
    scorer = Scorer(**build)
    for number, item in enumerate(items):
        yield number, scorer([item])


def _signatures(
    origins: Sequence[Origin], encoders: Path, config: ScoreConfig, found: Sequence[Part]
) -> list[bytes]:
    """Return for each part a hash of all that its rows depend on."""
    card = encoders / "clip" / "card.json"
    net = card.read_text(encoding="utf-8") if card.is_file() else ""
    heads = {name: state_of(Path(), file) for name, file in config.heads.items()}
    columns = str(score_schema(config))
    common = json.dumps([config.batch, net, columns, heads, git_commit()])
    marks = []
    for part in found:
        origin, shard = origin_at(origins, part.shard)
        folder, exact = origin.folder, settled(origin.config, origin.folder)
        facts: list[Any] = [origin.name, asdict(origin.config)]
        if exact.kind == "image_folder":
            some = listing(folder, exact).entries[part.start : part.stop]
            facts += [(repr(entry), state_of(folder, entry.file)) for entry in some]
        else:
            facts.append((repr(part), state_of(folder, restored(shard))))
        text = f"{common}\n{facts}".encode("utf-8", "surrogateescape")
        marks.append(hashlib.sha256(text).hexdigest().encode())
    return marks


def _signature_of(file: Path) -> bytes:
    """Return what `score_source` wrote into a part, b"" when there is no whole part."""
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException):
        return b""
    return bytes(metadata.get(_SIGNATURE, b""))


def _put_together(files: Sequence[Path], out: Path, schema: pa.Schema) -> dict[str, Any]:
    again = _repeated(files)
    writer = ShardWriter(out, "scores", schema, SCORE_SHARD_ROWS)
    reasons: Counter[str] = Counter()
    hidden: list[str] = []
    unreachable: list[int | None] = []
    num_hidden, at = 0, 0
    waiting: list[pa.Table] = []
    for file in files:
        table = _read_part(file)
        apart = pc.equal(pc.fill_null(table["reason"], ""), Reason.ENTRY_HIDDEN.value)
        names = table.filter(apart)["key"]
        num_hidden += len(names)
        hidden += names.to_pylist()[: _NAMED - len(hidden)]
        table = table.filter(pc.invert(apart))
        table = _marked(table, again[at : at + len(table)])
        at += len(table)
        for one in pc.value_counts(table["reason"].drop_null()).to_pylist():
            reasons[one["values"]] += one["counts"]
        missing = pc.equal(pc.fill_null(table["reason"], ""), Reason.SHARD_UNREACHABLE.value)
        unreachable += map(num_missing, table.filter(missing)["key"].to_pylist())
        waiting.append(table)
        waiting = _write_full(writer, waiting, SCORE_SHARD_ROWS)
    if sum(map(len, waiting)):
        _write_full(writer, waiting, 1)
    facts = writer.close() | {"reasons": dict(sorted(reasons.items()))}
    facts["hidden"] = {"entries": num_hidden, "such_as": hidden}
    if unreachable:
        known = [count for count in unreachable if count is not None]
        rows = {"rows": sum(known), "unknown": len(unreachable) - len(known)}
        facts["unreachable"] = {"parts": len(unreachable), **rows}
    write_json(out / "manifest.json", facts)
    return facts


def _write_full(writer: ShardWriter, waiting: list[pa.Table], least: int) -> list[pa.Table]:
    """Write as many shards of SCORE_SHARD_ROWS as there are; return what is left."""
    while sum(map(len, waiting)) >= least:
        table = pa.concat_tables(waiting)
        writer.write_shard(table.slice(0, SCORE_SHARD_ROWS).combine_chunks())
        waiting = [table.slice(SCORE_SHARD_ROWS)] if len(table) > SCORE_SHARD_ROWS else []
    return waiting


def _read_part(file: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        table = pq.read_table(file, columns=columns)
    except (OSError, pa.ArrowException) as error:
        what = f"unreadable part: {str(error).splitlines()[0]}"
        raise DataError(what, str(file), "run the score stage again") from None
    return table.replace_schema_metadata(None)


def _repeated(files: Sequence[Path]) -> np.ndarray:
    """Tell of each row whether its key was met before, in any part, bool [N]."""
    marks = bytearray()  # 16 bytes of a hash instead of the key keep it small
    for file in files:
        table = _read_part(file, ["key", "reason"])
        apart = pc.equal(pc.fill_null(table["reason"], ""), Reason.ENTRY_HIDDEN.value)
        for key in table.filter(pc.invert(apart))["key"].to_pylist():
            marks += hashlib.blake2b(key.encode(), digest_size=16).digest()
    keys = np.frombuffer(marks, dtype="V16")
    again = np.ones(len(keys), dtype=bool)
    again[np.unique(keys, return_index=True)[1]] = False
    return again


def _marked(table: pa.Table, again_N: np.ndarray) -> pa.Table:
    """Return the table with the reason of rows whose key was met before."""
    if not again_N.any():
        return table
    mask = pa.array(again_N)
    for name, value in (("reason", Reason.SAMPLE_DUPLICATE_KEY.value), ("clip_similarity", None)):
        at = table.schema.get_field_index(name)
        kind = table.schema.field(at).type
        column = pc.if_else(mask, pa.scalar(value, kind), table[name].combine_chunks())
        table = table.set_column(at, name, column)
    return table
