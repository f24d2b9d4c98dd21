"""What the filter found about every row, and the ledger that says so: a row for each, kept or not.

Legend: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from components.data.decisions import Decisions
    from components.data.score_files import ScoreFiles


@dataclass(frozen=True)
class Found:
    """The filter's result, before anything is written.

    Attributes:
        scores: all rows.
        decisions: on them.
        heldout_N: which rows are held out, bool.
        source_N: number of the source of each.
        sources: names of the sources; one alone has "".
    """

    scores: ScoreFiles
    decisions: Decisions
    heldout_N: np.ndarray
    source_N: np.ndarray
    sources: tuple[str, ...]

    def by_source(self) -> dict[str, Any]:
        """Return {"sources": counts of each}, {} for a source alone."""
        from components.data.shares import report_of_sources

        if len(self.sources) < 2:
            return {}
        counts = report_of_sources(self.decisions, self.heldout_N, self.source_N, self.sources)
        return {"sources": counts}

    def shares(self) -> dict[str, Any]:
        """Return {"sources": rows of each in each split}, for the manifest; {} for one alone."""
        found = self.by_source().get("sources", {})
        rows = {
            name: {"train": one["kept"], "heldout": one["heldout"]} for name, one in found.items()
        }
        return {"sources": rows} if rows else {}


def write_ledger(path: Path, found: Found) -> None:
    """Write one row for each sample: key, shard, offset, kept, reason, split.

    Where there are several sources, also the name of its own.

    Args:
        path: Parquet file; its folder is made.
        found: what was decided.
    """
    import numpy as np
    import pyarrow as pa

    from components.data.parquet_files import TableWriter

    texts, flag = pa.string(), pa.bool_()
    kinds = {"key": texts, "shard": texts, "offset": pa.int64(), "kept": flag, "reason": texts}
    kinds |= {"split": texts} | ({"source": texts} if len(found.sources) > 1 else {})
    decisions, heldout = found.decisions, found.heldout_N
    kept, reasons = decisions.kept_N, pa.array(decisions.reasons)
    splits, names = pa.array(["", "train", "heldout"]), pa.array(found.sources)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TableWriter(path, pa.schema(kinds), found.scores.num_rows) as writer:
        for at, batch in found.scores.batches(["key", "shard", "offset"]):
            rows = slice(at, at + len(batch))
            split = np.where(kept[rows], np.where(heldout[rows], 2, 1), 0).astype(np.int8)
            table = pa.Table.from_batches([batch])
            table = table.append_column("kept", pa.array(kept[rows]))
            table = table.append_column("reason", reasons.take(pa.array(decisions.codes_N[rows])))
            table = table.append_column("split", splits.take(pa.array(split)))
            if "source" in kinds:
                of_rows = names.take(pa.array(found.source_N[rows]))
                table = table.append_column("source", of_rows)
            writer.write(table)
