"""Which rows of the scores are kept: rules, quantiles and copies, decided by DuckDB on disk.

Memory holds some bytes a row; the rest lies in the engine's file. A row is counted under the first
rule that it breaks, and what is rejected no longer counts for the rules behind. The result depends
on the rows' places in the source alone, not on the number of threads. Legend: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.data.fingerprints import THUMBNAIL_PX
from components.data.near_copies import later_copies
from components.data.near_search import Images, pairs_in_stream
from components.data.reasons import Reason
from components.data.score_files import ROWS_AT_ONCE, ScoreFiles, open_engine
from components.data.scorers import REPEATS
from components.data.semantic_copies import semantic_pairs
from components.errors import DataError

EMBEDDING = "clip_embedding"
_MOST_REASONS = 255


@dataclass(frozen=True)
class Rule:
    """What a row must be to be kept.

    Attributes:
        reason: under which a row is counted that is not.
        good: what it must be, in SQL over the columns of the scores; unknown (NULL) is not good.
        columns: those that `good` names.
        keep_of, keep_fraction: instead of `good`: of the rows that reach the rule, this share is
            kept, those with the largest values of this column.
    """

    reason: str
    good: str
    columns: tuple[str, ...]
    keep_of: str = ""
    keep_fraction: float = 1.0


@dataclass(frozen=True)
class CopyRules:
    """Which copies are rejected; of two the first is kept.

    Attributes:
        exact: equal files.
        near_bits: largest difference of the hashes of near copies; -1 = off.
        near_levels: largest difference of any cell of their thumbnails.
        semantic_cosine: least cosine of the embeddings of copies in meaning; 1 = off.
    """

    exact: bool = True
    near_bits: int = -1
    near_levels: float = 0.0
    semantic_cosine: float = 1.0


@dataclass(frozen=True)
class Decisions:
    """The reason of each row.

    Attributes:
        reasons: all that occur; number 0 is "", for kept rows.
        codes_N: number of each row's reason, uint8.
    """

    reasons: tuple[str, ...]
    codes_N: np.ndarray

    @property
    def kept_N(self) -> np.ndarray:
        """Which rows are kept, bool [N]."""
        return np.equal(self.codes_N, 0)

    def rejected(self) -> dict[str, int]:
        """Count the rejected rows by reason, in the order of their names."""
        counts = np.bincount(self.codes_N, minlength=len(self.reasons)).tolist()
        found = dict(zip(self.reasons, counts, strict=True))
        return {name: found[name] for name in sorted(found) if name and found[name]}

    def texts(self) -> np.ndarray:
        """Return the reason of each row, [N] of str."""
        return np.array(self.reasons, dtype=object)[self.codes_N]


def decide(scores: ScoreFiles, rules: Sequence[Rule], copies: CopyRules, work: Path) -> Decisions:
    """Decide on every row.

    Args:
        scores: sorted by place in the source.
        rules: in the order in which they are asked.
        copies: asked after them.
        work: folder for the engine's files, tens of bytes a row; the caller deletes it.

    Raises:
        ResourceError: the engine has no room on disk or in memory.
        KeyboardInterrupt: a signal came while it was at work.
    """
    with open_engine(work, scores.num_rows) as engine:
        decider = _Decider(engine, scores, rules)
        if copies.exact:
            decider.reject_exact_copies()
        if copies.near_bits >= 0:
            decider.reject_equal_looks()
    # The engine's files are gone before the images are written.
    if copies.near_bits >= 0:
        pairs = pairs_in_stream(decider.images(), copies.near_bits, copies.near_levels, work)
        marked = later_copies(pairs, scores.num_rows)
        decider.reject_images(marked, Reason.FILTER_NEAR_DUPLICATE)
    if copies.semantic_cosine < 1.0:
        pairs = semantic_pairs(decider.embeddings(), copies.semantic_cosine, work)
        marked = later_copies(pairs, scores.num_rows)
        decider.reject_images(marked, Reason.FILTER_SEMANTIC_DUPLICATE)
    return Decisions(tuple(decider.names), decider.codes)


class _Decider:
    """Codes of all rows, and the engine's table of those that no rule rejects."""

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, scores: ScoreFiles, rules: Sequence[Rule]
    ) -> None:
        self.engine, self.scores = engine, scores
        self.codes = np.zeros(scores.num_rows, dtype=np.uint8)
        self._first = np.zeros(0, dtype=bool)  # first row of an image, among those left
        wanted = dict.fromkeys(name for rule in rules for name in (*rule.columns, rule.keep_of))
        wanted.pop("", None)
        own = ["reason", "shard", "offset", "sha256", "phash", "thumbnail"]
        columns = ""
        if REPEATS in wanted:
            del wanted[REPEATS]
            own.append("caption")
            same = "PARTITION BY md5_number(coalesce(caption, ''))"
            columns = f', count(*) OVER ({same}) AS "{REPEATS}"'
        engine.register("stream", scores.reader([*own, *(n for n in wanted if n not in own)]))
        columns += "".join(f', "{name}"' for name in wanted if name != "reason")
        # An image's place and a file's hash as numbers: texts would be most of the table.
        engine.execute(
            f"""CREATE TABLE facts AS SELECT position, coalesce(reason, '') AS reason{columns},
            hash(shard, "offset") AS image, md5_number(coalesce(sha256, '')) AS file,
            coalesce(phash, 0) AS look, coalesce(md5_number(thumbnail), 0) AS colours
            FROM stream"""
        )
        engine.unregister("stream")
        found = engine.execute("SELECT DISTINCT reason FROM facts WHERE reason <> ''").fetchall()
        self.names = ["", *sorted(reason for (reason,) in found)]
        self._apply(rules)

    def code(self, reason: str) -> int:
        """Return the number of a reason."""
        if reason not in self.names:
            self.names.append(str(reason))
        if len(self.names) > _MOST_REASONS:
            what = f"more than {_MOST_REASONS} reasons"
            raise DataError(what, "filter", "ask for fewer rules")
        return self.names.index(reason)

    def _apply(self, rules: Sequence[Rule]) -> None:
        known = self.names[1:]
        cases = [f"WHEN reason <> '' THEN list_position({_list(known)}, reason)"] if known else []
        for rule in rules:
            good = self._largest(rule, cases) if rule.keep_of else rule.good
            cases.append(f"WHEN NOT coalesce({good}, false) THEN {self.code(rule.reason)}")
        code = _case(cases)
        self.engine.execute(
            f"CREATE TABLE alive AS SELECT position, image, file, look, colours, {code} AS code "
            "FROM facts"
        )
        for batch in self._read("SELECT position, code FROM alive WHERE code <> 0"):
            self.codes[batch["position"].to_numpy()] = batch["code"].to_numpy()
        self.engine.execute("DROP TABLE facts; DELETE FROM alive WHERE code <> 0")

    def _largest(self, rule: Rule, cases: list[str]) -> str:
        """Return what a value must be to be among the share that is kept, in SQL."""
        left = f"FROM facts WHERE {_case(cases)} = 0"
        column = f'"{rule.keep_of}"'
        row = self.engine.execute(f"SELECT count(*) {left}").fetchone()
        total = row[0] if row else 0
        count = round(rule.keep_fraction * total)
        if not count:
            return "false"
        found = self.engine.execute(
            f"SELECT {column} {left} ORDER BY {column} DESC NULLS LAST LIMIT 1 OFFSET {count - 1}"
        ).fetchone()
        return f"{column} >= CAST('{found[0]!r}' AS DOUBLE)" if found else "false"

    def reject_exact_copies(self) -> None:
        """Reject rows whose file equals that of an earlier image that is left."""
        self._reject_later("file", Reason.FILTER_EXACT_DUPLICATE)

    def reject_equal_looks(self) -> None:
        """Reject rows whose hash and thumbnail equal those of an earlier image that is left."""
        self._reject_later("look, colours", Reason.FILTER_NEAR_DUPLICATE)

    def _reject_later(self, columns: str, reason: Reason) -> None:
        # Several captions of one image are no copies of each other.
        self.engine.execute(
            f"""CREATE OR REPLACE TABLE copies AS SELECT position FROM alive JOIN
            (SELECT {columns}, arg_min(image, position) AS first FROM alive
            GROUP BY {columns} HAVING count(*) > 1) USING ({columns}) WHERE image <> first"""
        )
        code = self.code(reason)
        for batch in self._read("SELECT position FROM copies"):
            self.codes[batch["position"].to_numpy()] = code
        self.engine.execute("DELETE FROM alive USING copies WHERE alive.position = copies.position")

    def images(self) -> Iterator[Images]:
        """Yield hash and thumbnail of the images that are left, once each, in order."""
        for rows, some in self._images(["phash", "thumbnail"]):
            yield rows, some["phash"].fill_null(0).to_numpy(), _thumbnails(some["thumbnail"])

    def embeddings(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield CLIP's embeddings of the images that are left, once each, in order."""
        for rows, some in self._images([EMBEDDING]):
            there = some[EMBEDDING].is_valid().to_numpy()
            values = some[EMBEDDING].drop_null().combine_chunks().flatten().to_numpy()
            if there.any():
                yield rows[there], values.reshape(int(there.sum()), -1)

    def _images(self, columns: Sequence[str]) -> Iterator[tuple[np.ndarray, pa.Table]]:
        self._first = np.zeros(self.scores.num_rows, dtype=bool)
        last: pa.Table | None = None
        for at, batch in self.scores.batches(["shard", "offset", *columns]):
            alive = np.flatnonzero(self.codes[at : at + len(batch)] == 0)
            if not len(alive):
                continue
            table = pa.Table.from_batches([batch]).take(pa.array(alive))
            place = table.select(["shard", "offset"])
            new = _is_new(place if last is None else pa.concat_tables([last, place]))
            new = new if last is None else new[1:]
            last = place.slice(len(place) - 1)
            self._first[at + alive[new]] = True
            yield at + alive[new], table.filter(pa.array(new))

    def reject_images(self, marked_N: np.ndarray, reason: Reason) -> None:
        """Reject the images that are marked at their first row, with all their rows."""
        code = self.code(reason)
        before = False
        for at in range(0, len(self.codes), ROWS_AT_ONCE):
            alive = at + np.flatnonzero(self.codes[at : at + ROWS_AT_ONCE] == 0)
            if not len(alive):
                continue
            number = np.where(self._first[alive], np.arange(len(alive)), -1)
            number = np.maximum.accumulate(number)
            marked = np.where(number >= 0, marked_N[alive[number]], before)
            self.codes[alive[marked]] = code
            before = bool(marked[-1])

    def _read(self, query: str) -> Iterator[pa.RecordBatch]:
        yield from self.engine.sql(query).to_arrow_reader(ROWS_AT_ONCE)


def _case(cases: Sequence[str]) -> str:
    return f"(CASE {' '.join(cases)} ELSE 0 END)" if cases else "0"


def _list(texts: Sequence[str]) -> str:
    return "[" + ", ".join("'" + text.replace("'", "''") + "'" for text in texts) + "]"


def _is_new(place: pa.Table) -> np.ndarray:
    """Tell of each row whether it is of another image than the one before, bool [N]."""
    new = np.ones(len(place), dtype=bool)
    for number, name in enumerate(place.column_names):
        column = place[name].combine_chunks()
        differs = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
        values = differs.to_numpy(zero_copy_only=False)
        new[1:] = values if number == 0 else new[1:] | values
    return new


def _thumbnails(column: pa.ChunkedArray) -> np.ndarray:
    """Return the thumbnails as rows, uint8 [N, P]; all zero where there is none."""
    width = 3 * THUMBNAIL_PX**2
    found = np.zeros((len(column), width), dtype=np.uint8)
    there = np.flatnonzero(column.is_valid().to_numpy())
    joined = np.frombuffer(b"".join(column.drop_null().to_pylist()), dtype=np.uint8)
    found[there] = joined.reshape(len(there), width)
    return found
