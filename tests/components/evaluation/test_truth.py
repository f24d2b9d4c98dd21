"""The filter's decisions against a truth of eight samples."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluation.truth import filter_truth


def _row(key: str, *, swapped=False, dirt="", exact="", near="", split="train") -> dict:
    return {
        "key": key,
        "split": split,
        "swapped": swapped,
        "dirt": dirt,
        "exact_duplicate_of": exact,
        "near_duplicate_of": near,
    }


def test_shares_are_counted_over_the_right_samples(tmp_path: Path) -> None:
    truth = [
        _row("a"),
        _row("b"),
        _row("c"),
        _row("d", swapped=True),
        _row("e", swapped=True),
        _row("f", dirt="truncated"),
        _row("g", exact="a"),
        _row("a", split="test"),
    ]
    kept = {"a": True, "b": True, "c": False, "d": False, "e": True, "f": False, "g": True}
    pq.write_table(pa.Table.from_pylist(truth), tmp_path / "truth.parquet")
    pq.write_table(
        pa.Table.from_pylist([{"key": k, "kept": v, "reason": ""} for k, v in kept.items()]),
        tmp_path / "decisions.parquet",
    )
    found = filter_truth(tmp_path / "truth.parquet", tmp_path / "decisions.parquet")
    assert found == {"swapped": 2, "swapped_rejected": 0.5, "clean": 3, "clean_kept": 2 / 3}


def test_no_truth_is_no_statement(tmp_path: Path) -> None:
    assert filter_truth(tmp_path / "truth.parquet", tmp_path / "decisions.parquet") is None
