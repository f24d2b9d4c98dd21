"""Batches of rows on their way through Ray Data.

Items and rows travel pickled inside one column, because Arrow would change None, integers and
nested values on the way; so the far side computes on exactly the batches of a local loop.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any


def pack(items: Sequence[dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Return one record {index, items} per batch of `batch_size` items, in order."""
    starts = range(0, len(items), batch_size)
    return [{"index": i, "items": pickle.dumps(list(items[i : i + batch_size]))} for i in starts]


def unpack(record: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Return (number of the batch, its rows) of one record {index, rows}."""
    return int(record["index"]), pickle.loads(record["rows"])


class BatchActor:
    """Holds one worker object, so that its networks are loaded once per process."""

    def __init__(self, worker_class: type, constructor_kwargs: dict[str, Any]) -> None:
        self.worker = worker_class(**constructor_kwargs)

    def __call__(self, records: dict[str, Any]) -> dict[str, Any]:
        """Map a column of packed items to a column of packed rows."""
        rows = [self.worker(pickle.loads(items)) for items in records["items"]]
        return {"index": records["index"], "rows": [pickle.dumps(list(r)) for r in rows]}
