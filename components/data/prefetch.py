"""Read the next micro-batch while the current one trains: same batches, same order.

The loop asks for atoms at a steady stride; the next one is guessed from the last two, and a wrong
guess costs nothing but the guess.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from models.interfaces import Batch, ConditionShape


class Source(Protocol):
    """What a stream of batches promises."""

    num_rows: int
    shape: ConditionShape
    content_hash: str

    def atom(self, position: int, size: int) -> Batch:
        """Return samples [position, position + size) of the stream."""

    def first(self, count: int) -> Batch:
        """Return the first rows in stored order."""


class Prefetched:
    """A source that reads ahead in a thread.

    Args:
        source: where the atoms come from; it must allow calls from two threads.
        depth: atoms read ahead.
    """

    def __init__(self, source: Source, depth: int = 2) -> None:
        self.source, self.depth = source, depth
        self.num_rows, self.shape = source.num_rows, source.shape
        self.content_hash = source.content_hash
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}
        self._last: int | None = None

    def atom(self, position: int, size: int) -> Batch:
        """Return samples [position, position + size) of the stream."""
        ready = self._ahead.pop((position, size), None)
        batch = ready.result() if ready else self.source.atom(position, size)
        stride = size if self._last is None else position - self._last
        self._last = position
        if stride > 0:
            self._read_ahead([(position + stride * k, size) for k in range(1, self.depth + 1)])
        return batch

    def first(self, count: int) -> Batch:
        """Return the first rows in stored order."""
        return self.source.first(count)

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read_ahead(self, wanted: list[tuple[int, int]]) -> None:
        for place in self._ahead.keys() - set(wanted):
            self._ahead.pop(place).cancel()
        for place in wanted:
            if place not in self._ahead:
                self._ahead[place] = self._pool.submit(self.source.atom, *place)
