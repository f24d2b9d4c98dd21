"""Rows of a data stage made by a job on a distant cluster (RAY_ADDRESS=http://head:8265).

Items go to the job and rows come back through a folder below GANLINE_RUNS_DIR, a few at a time. The
job ends when the command that asks is gone: what is lost then is no more than the rows on the way,
and a stage keeps its finished parts itself.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from components.errors import ResourceError
from pipeline.cluster import ray_door
from pipeline.cluster.config import ClusterConfig
from pipeline.cluster.mailbox import Mailbox
from pipeline.places import runs_folder

Rows = Iterator[tuple[int, list[dict[str, Any]]]]
Submit = Callable[[dict[str, Any], Path, str], Any]
SIGN, ITEMS, ROWS = "alive", "items", "rows"
KEY = "GANLINE_ROWS_KEY"  # the job's environment variable
_SIGN_S, _GONE_S = 2.0, 120.0
_LATE_S = 60.0  # a network's file system may show a file so much later


class _Beside(threading.Thread):
    """Runs beside the main thread, which may leave it behind; `ended` tells its error there."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # it is raised where `ended` is asked
            self._error = error

    def ended(self) -> bool:
        """Return whether it is over; raises what it raised."""
        if self.is_alive():
            return False
        if self._error is not None:
            raise self._error
        return True


def rows_of_job(
    items: Iterable[dict[str, Any]],
    worker: type,
    arguments: dict[str, Any],
    ordered: bool,
    submit: Submit,
) -> Rows:
    """Yield what `ray_door.map_batches` does, one item a call, from a job.

    Args:
        items, worker, arguments, ordered: as there; they can be pickled.
        submit: (task, folder, key) -> result; runs `serve` on the cluster and waits for its end.

    Raises:
        GanlineError: what the job ended with.
    """
    folder = runs_folder() / "rows" / f"rows-{uuid.uuid4().hex[:12]}"
    folder.mkdir(parents=True)
    (folder / SIGN).touch()
    key = secrets.token_hex()
    try:
        job = _Beside(lambda: submit({"ordered": ordered}, folder, key))
        messages = chain([(worker, arguments)], items)
        sender = _Beside(lambda: _send(messages, folder, key, job))
        sign = _Beside(lambda: _give_sign(folder))

        over = 0.0

        def check() -> None:
            nonlocal over
            sender.ended()
            sign.ended()
            over = over or (time.monotonic() if job.ended() else 0.0)
            if over and time.monotonic() - over > _LATE_S:
                what = "the job ended, and its last rows did not come"
                raise ResourceError(what, str(folder), "is it the same folder on every node?")

        yield from Mailbox(folder / ROWS, key, check)
        while not job.ended():
            time.sleep(_SIGN_S / 10)
    finally:
        _take_away(folder)


def _take_away(folder: Path) -> None:
    """Remove it though the sender or the job may still write: neither finds it by its name."""
    gone = folder.with_name(f"{folder.name}.gone")
    with suppress(OSError):  # somebody else's deletion is no reason to hide how the job ended
        os.replace(folder, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _send(messages: Iterable[Any], folder: Path, key: str, job: _Beside) -> None:
    box = Mailbox(folder / ITEMS, key, lambda: None if not job.ended() else _no_reader())
    for message in messages:
        box.put(message)
    box.close()


def _no_reader() -> None:
    raise ResourceError("the job ended before it took all items", "Ray", "run the same command")


def _give_sign(folder: Path) -> None:
    while (folder / SIGN).exists():
        with suppress(FileNotFoundError):
            os.utime(folder / SIGN)  # not touch: it would make the file anew
        time.sleep(_SIGN_S)


class _Watch:
    """Raises when the command that asks gives no sign of life.

    The clocks of two machines differ: what counts is whether the sign changes.
    """

    def __init__(self, folder: Path) -> None:
        self._sign, self._seen, self._since = folder / SIGN, 0, time.monotonic()

    def __call__(self) -> None:
        try:
            found = self._sign.stat().st_mtime_ns
        except FileNotFoundError:
            found = -1
        if found not in (self._seen, -1):
            self._seen, self._since = found, time.monotonic()
        if found == -1 or time.monotonic() - self._since > _GONE_S:
            todo = "run the same command again"
            raise ResourceError("the command that asked for rows is gone", str(self._sign), todo)


def serve(folder: Path, config: ClusterConfig, ordered: bool, key: str) -> int:
    """Make the rows of the items that come, on the cluster whose head this is; return how many.

    Raises:
        ResourceError: the command that asks is gone.
        StorageError: a message is not its own.
    """
    watch, count = _Watch(folder), 0
    watch()
    items, rows = iter(Mailbox(folder / ITEMS, key, watch)), Mailbox(folder / ROWS, key, watch)
    worker, arguments = next(items)
    for made in ray_door.map_batches(items, worker, arguments, 1, config, "auto", ordered):
        rows.put(made)
        count += 1
    rows.close()
    return count
