"""Batches of rows on their way through Ray Data.

Items and rows travel pickled inside one column, because Arrow would change None, integers and
nested values on the way; so the far side computes on exactly the batches of a local loop.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from components.errors import GanlineError
from pipeline.cluster.failures import (
    ACTOR_ERRORS,
    actors_died,
    failure_from_dict,
    failure_to_dict,
)

# Batches that are handed over at a time: what lies in the launcher's memory. Each window starts
# the actors anew, so it holds many.
WINDOW = 512
# A lost node costs each batch it had one try. What ends its actor each time (a decoder that
# crashes) would be tried for ever.
RETRIES = 5


def windows(
    items: Iterable[dict[str, Any]], batch_size: int, window: int = WINDOW
) -> Iterator[list[dict[str, Any]]]:
    """Yield records {index, items}, one per batch of `batch_size` items, in lists of `window`."""
    stream = iter(items)
    batches = enumerate(iter(lambda: list(islice(stream, batch_size)), []))
    records = ({"index": number, "items": pickle.dumps(some)} for number, some in batches)
    while found := list(islice(records, window)):
        yield found


def unpack(record: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Return (number of the batch, its rows) of one record {index, rows}.

    Raises:
        GanlineError: what the worker raised.
    """
    rows = pickle.loads(record["rows"])
    if isinstance(rows, dict):
        raise failure_from_dict(rows)
    return int(record["index"]), rows


def answers(records: Iterable[dict[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield (number of the batch, its rows) of what comes back.

    Raises:
        GanlineError: what the worker raised; ResourceError: a batch ended its actors each time.
    """
    try:
        yield from map(unpack, records)
    except Exception as error:
        if type(error).__name__ in ACTOR_ERRORS:
            raise actors_died(RETRIES + 1, error) from error
        raise


class BatchActor:
    """Holds one worker object, so that its networks are loaded once per process.

    An error that a user can meet is told in words: Ray would wrap it in one of its own.
    """

    def __init__(self, worker_class: type, constructor_kwargs: dict[str, Any]) -> None:
        self._worker: Any = None
        self._failure: dict[str, str] = {}
        try:
            self._worker = worker_class(**constructor_kwargs)
        except GanlineError as error:
            self._failure = failure_to_dict(error)

    def __call__(self, records: dict[str, Any]) -> dict[str, Any]:
        """Map a column of packed items to a column of packed rows."""
        rows = [pickle.dumps(self._rows(pickle.loads(items))) for items in records["items"]]
        return {"index": records["index"], "rows": rows}

    def _rows(self, items: list[dict[str, Any]]) -> list[dict[str, Any]] | dict[str, str]:
        try:
            return self._failure or list(self._worker(items))
        except GanlineError as error:
            return failure_to_dict(error)
