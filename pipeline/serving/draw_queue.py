"""One thread that draws: requests wait in a bounded queue, and those of one shape share a batch.

A model on a CPU is no faster for two callers at once, and on a GPU a batch costs little more than
one image; so requests are put together as they wait. An image does not depend on its neighbours.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

# Of (rows of all jobs of one key, key) -> one result per row.
DrawRows = Callable[[Sequence[Any], Hashable], Sequence[Any]]


class QueueFull(Exception):
    """More images wait than the queue may hold."""


class QueueClosed(Exception):
    """The queue takes nothing more: another model has taken its place."""


@dataclass
class Job:
    """Rows that are drawn together.

    Attributes:
        rows: one per image.
        key: jobs of an equal key may share a batch; None = this one is drawn alone.
        alone: draws the job when there is no key.
        result: resolves to one result per row, or to what `alone` gives.
    """

    rows: Sequence[Any]
    key: Hashable = None
    alone: Callable[[], Any] | None = None
    result: Future[Any] = field(default_factory=Future)


class DrawQueue:
    """A bounded queue before one drawing thread.

    Args:
        draw: called in the thread.
        batch: most rows of one call of `draw`, unless a single job has more.
        capacity: most rows that may wait.
    """

    def __init__(self, draw: DrawRows, batch: int = 16, capacity: int = 256) -> None:
        self._draw, self._batch, self._capacity = draw, batch, capacity
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="draw", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Future[Any]:
        """Queue a job and return its future; a cancelled one that still waits is not drawn.

        Raises:
            QueueFull: too much waits already.
            QueueClosed: the queue was closed.
        """
        with self._changed:
            if self._closed:
                raise QueueClosed
            if self._jobs and self.waiting + len(job.rows) > self._capacity:
                raise QueueFull
            self._jobs.append(job)
            self._changed.notify()
        return job.result

    @property
    def waiting(self) -> int:
        """Return how many rows wait."""
        return sum(len(job.rows) for job in list(self._jobs))

    def close(self) -> None:
        """Draw what waits, take nothing more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while jobs := self._take():
            started = [job for job in jobs if job.result.set_running_or_notify_cancel()]
            if started:
                self._work(started)

    def _take(self) -> list[Job]:
        """Return the next jobs that may share a batch, the oldest first; [] at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            first = self._jobs.popleft()
            taken, rows = [first], len(first.rows)
            for job in list(self._jobs) if first.key is not None else ():
                if job.key == first.key and rows + len(job.rows) <= self._batch:
                    self._jobs.remove(job)
                    taken.append(job)
                    rows += len(job.rows)
            return taken

    def _work(self, jobs: list[Job]) -> None:
        try:
            if (alone := jobs[0].alone) is not None:
                jobs[0].result.set_result(alone())
                return
            found = self._draw([row for job in jobs for row in job.rows], jobs[0].key)
            at = 0
            for job in jobs:
                job.result.set_result(found[at : at + len(job.rows)])
                at += len(job.rows)
        except Exception as error:
            for job in jobs:
                if not job.result.done():
                    job.result.set_exception(error)
