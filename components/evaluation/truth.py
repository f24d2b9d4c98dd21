"""Measure how good the filter was, where the truth about the data is known.

Only evaluation reads the truth.
"""

from __future__ import annotations

from pathlib import Path


def filter_truth(truth: Path, decisions: Path) -> dict[str, float] | None:
    """Compare the filter's decisions with the truth about the corpus it filtered.

    Args:
        truth: truth.parquet: key, split, swapped, dirt, exact_duplicate_of, near_duplicate_of.
        decisions: decisions.parquet: key, kept.

    Returns:
        `swapped` and `clean`, the samples of each kind; `swapped_rejected` and `clean_kept`, shares
        in [0, 1]. Clean: the caption is its own, and there is no dirt and no duplicate of another.
        None when there is no truth or none of its samples was filtered.

    Raises:
        DataError: one of the files is no Parquet or has other columns.
    """
    import pyarrow as pa

    from components.data.parquet_files import read_columns

    if not truth.is_file():
        return None
    decided = read_columns(decisions, pa.schema([("key", pa.string()), ("kept", pa.bool_())]))
    kept = {row["key"]: row["kept"] for row in decided.to_pylist()}
    columns = ["key", "split", "swapped", "dirt", "exact_duplicate_of", "near_duplicate_of"]
    schema = pa.schema([(n, pa.bool_() if n == "swapped" else pa.string()) for n in columns])
    rows = [
        row
        for row in read_columns(truth, schema).to_pylist()
        if row["split"] == "train" and row["key"] in kept
    ]
    if not rows:
        return None
    swapped = [kept[row["key"]] for row in rows if row["swapped"]]
    marks = columns[2:]
    clean = [kept[row["key"]] for row in rows if not any(row[mark] for mark in marks)]
    return {
        "swapped": len(swapped),
        "swapped_rejected": 1 - sum(swapped) / len(swapped) if swapped else 1.0,
        "clean": len(clean),
        "clean_kept": sum(clean) / len(clean) if clean else 1.0,
    }
