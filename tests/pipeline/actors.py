"""Actors as Ray starts them, in this process or as processes that a test may kill."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import psutil

from pipeline.cluster.row_batches import BatchActor, unpack, windows


def by_actor(
    items: Iterable[dict[str, Any]], worker: type, arguments: dict[str, Any]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Map items as one actor does, everything pickled on its way; no Ray is started."""
    actor = BatchActor(worker, pickle.loads(pickle.dumps(arguments)))
    for window in windows(items, 1):
        for packed in window:
            made = actor({name: [value] for name, value in packed.items()})
            yield unpack({name: column[0] for name, column in made.items()})


class KillsOne(threading.Thread):
    """End one of the actors, which have `mark` in their environment, once it is time."""

    def __init__(self, mark: str, is_time: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.mark, self.is_time, self.killed = mark, is_time, ""

    def run(self) -> None:
        limit = time.monotonic() + 600
        while not self.killed and time.monotonic() < limit:
            if self.is_time():
                self.killed = self._kill()
            time.sleep(0.02)

    def _kill(self) -> str:
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if words.startswith("ray::MapWorker") and self.mark in process.environ().values():
                process.kill()
                return words
        return ""
